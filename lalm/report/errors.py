"""Writes the table of an experiment on errors, and its figure."""

import json
import pathlib
from typing import Any, Callable, Iterable, Mapping

from lalm import store
from lalm.report import build, medians


def publish(
    folder: pathlib.Path,
    tables: Callable[[Iterable[Mapping[str, Any]], Any], str],
    figure: str,
) -> None:
  """Writes `table.md` and `figures/errors.{svg,pdf,png}`; prints the table.

  Without matplotlib a line says that there is no figure; without a measurement
  there is none to draw.

  Args:
    folder: has `records.jsonl` and `environment.json`.
    tables: from these to Markdown.
    figure: module of `lalm.report` whose `render` makes of them the bytes of
      each format.
  """
  medians.publish(folder, tables)
  records = store.load(folder / "records.jsonl").records
  environment = json.loads((folder / "environment.json").read_text())
  each = [(records, environment)]
  paths, problem = build.draw(folder, "errors", figure, each)
  for line in (problem, *(f"figure: {path}" for path in paths[:1])):
    if line:
      print(line)
