"""Writes the table of an experiment on errors, and its figure."""

import importlib
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
    figure: module whose `render` makes of them the bytes of each format.
  """
  medians.publish(folder, tables)
  try:
    drawing = importlib.import_module(figure)  # matplotlib is an extra
  except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "matplotlib":
      raise
    print(build.EXTRA)
    return
  records = store.load(folder / "records.jsonl").records
  environment = json.loads((folder / "environment.json").read_text())
  for ending, content in drawing.render(records, environment).items():
    store.replace(folder / "figures" / f"errors.{ending}", content)
    if ending == "svg":
      print(f"figure: {folder / 'figures' / 'errors.svg'}")
