"""Writes the laws, tables and figures of a results folder."""

import importlib
import json
import pathlib
from typing import Any, Callable, Iterable, Mapping, NamedTuple

from lalm import scaling
from lalm import store
from lalm.report import medians, results, tables

EXTRA = (
    "no figure: matplotlib is not installed; python3 -m pip install"
    ' "lalm[report]"'
)


class Built(NamedTuple):
  """What was written, and the line that says why a figure was not."""

  results: results.Results
  paths: tuple[pathlib.Path, ...]
  problem: str = ""


def rebuild(folder: pathlib.Path) -> Built:
  """Derives `fits.json` and `crossovers.json`, then does what `build` does.

  Args:
    folder: the `DIR/<device>` of a run.

  Raises:
    results.Missing: the folder holds no records, or none that have laws.
    store.StoreError: a file cannot be written.
  """
  results.check(folder)
  records = store.load(folder / "records.jsonl").records
  for name, found in zip(("fits", "crossovers"), scaling.derive(records)):
    text = json.dumps(found, indent=2, sort_keys=True) + "\n"
    store.replace(folder / f"{name}.json", text)
  return build(folder)


def build(folder: str | pathlib.Path) -> Built:
  """Writes `table.{md,csv,tex}` and `figures/scaling*.{svg,pdf,png}`.

  Args:
    folder: the `DIR/<device>` of a run. The newest machine and setting is
      drawn as `scaling`, older ones as `scaling_2` and so on.

  Returns:
    The results read, the paths written, tables first, and a line in `problem`
    where matplotlib is missing: the tables need none.

  Raises:
    results.Missing: the folder holds no records, or none that have laws.
    store.StoreError: a file cannot be written.
  """
  found = results.load(folder)
  paths = []
  for ending, write in (
      ("md", tables.markdown),
      ("csv", tables.comma_separated),
      ("tex", tables.latex),
  ):
    paths.append(found.folder / f"table.{ending}")
    store.replace(paths[-1], write(found))
  each = [(group, found.environment) for group in found.groups]
  drawn, problem = draw(found.folder, "scaling", "figure", each)
  return Built(found, (*paths, *drawn), problem)


def publish(
    folder: pathlib.Path,
    tables_of: Callable[[Iterable[Mapping[str, Any]], Any], str],
    name: str,
    module: str,
) -> None:
  """Writes `table.md` and one figure of all records; prints the table.

  Without matplotlib a line says that there is no figure; without a measurement
  there is none to draw.

  Args:
    folder: has `records.jsonl` and `environment.json`.
    tables_of: from these to Markdown.
    name: of the figure's files.
    module: of `lalm.report`; its `render` makes of records and environment the
      bytes of each format.
  """
  records, environment = medians.publish(folder, tables_of)
  show(folder, name, module, [(records, environment)])


def draw(
    folder: pathlib.Path, name: str, module: str, each: Iterable[tuple]
) -> tuple[list[pathlib.Path], str]:
  """Writes figures as `figures/NAME.ENDING`, then `NAME_2.ENDING` and so on.

  Args:
    folder: the `DIR/<device>` of a run.
    name: of the first.
    module: of `lalm.report`; its `render` returns ending -> content.
    each: arguments of `render`, of one figure each.

  Returns:
    The paths written, and the line that says why none were, or "".
  """
  try:
    drawing = importlib.import_module(f"lalm.report.{module}")
  except ModuleNotFoundError as error:  # matplotlib is an extra
    if (error.name or "").partition(".")[0] != "matplotlib":
      raise
    return [], EXTRA
  paths = []
  for rank, arguments in enumerate(each, 1):
    stem = name if rank == 1 else f"{name}_{rank}"
    for ending, content in drawing.render(*arguments).items():
      paths.append(folder / "figures" / f"{stem}.{ending}")
      store.replace(paths[-1], content)
  return paths, ""


def publish_machines(
    folder: pathlib.Path, name: str, text: str, each: Iterable[tuple[Any, ...]]
) -> None:
  """Writes and prints the table of several machines, and draws the figure.

  Args:
    folder: to write into.
    name: of the figure; the module `NAME_figure` draws it.
    text: the table.
    each: arguments of that module's `render`, for each figure.
  """
  store.replace(folder / "table.md", text)
  print(text)
  show(folder, name, f"{name}_figure", each)


def show(
    folder: pathlib.Path,
    name: str,
    module: str,
    each: Iterable[tuple[Any, ...]],
) -> None:
  """Draws figures; prints where the first is, or why there is none.

  Args:
    folder: as of `draw`, as are the arguments after it.
    name: of the first.
    module: of `lalm.report`.
    each: arguments of `render`, of one figure each.
  """
  paths, problem = draw(folder, name, module, each)
  for line in (problem, *(f"figure: {path}" for path in paths[:1])):
    if line:
      print(line)
