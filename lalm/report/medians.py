"""Ratios of two times of the same workers, and Markdown tables of them."""

import json
import pathlib
import statistics
from typing import Any, Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from lalm import store
from lalm import units
from lalm.report import results
from lalm.scaling import intervals
from lalm.scaling import reading

Record = Mapping[str, Any]
# What decides numbers, in records of all experiments.
_VERSIONS = ("python", "jax", "jaxlib", "numpy")


def publish(
    folder: pathlib.Path, tables: Callable[[Iterable[Record], Any], str]
) -> tuple[Sequence[Record], Mapping[str, Any]]:
  """Writes the table of a device's folder and prints it.

  Args:
    folder: has `records.jsonl` and `environment.json`.
    tables: from these to Markdown.

  Returns:
    The records and the environment.
  """
  records = store.load(folder / "records.jsonl").records
  environment = results.environment(folder)
  text = tables(records, environment)
  store.replace(folder / "table.md", text)
  print(text)
  print(f"table: {folder / 'table.md'}")
  return records, environment


def interval(each: Sequence[float]) -> tuple[float, float] | None:
  """Returns 95 % of the medians of workers drawn anew; None of fewer than 3.

  Args:
    each: a ratio a worker.
  """
  if len(each) < 3:
    return None
  index, weight = intervals.draws(len(each))
  medians = np.median(np.array(each)[index], axis=1)
  tail = (1 - intervals.LEVEL) / 2
  return (
      intervals.quantile(medians, weight, tail),
      intervals.quantile(medians, weight, 1 - tail),
  )


def cell(each: Sequence[float]) -> str:
  """The median ratio with its interval, or with how few workers it is of."""
  if not each:
    return ""
  middle, bounds = statistics.median(each), interval(each)
  if bounds is None:
    return f"{middle:.2f} ({units.counted(len(each), 'worker')})"
  return f"{middle:.2f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], words: int
) -> list[str]:
  """Lines of a Markdown table whose first columns are words, then numbers."""
  rows = [[_plain(cell) for cell in row] for row in rows]
  rule = ["---"] * words + ["---:"] * (len(head) - words)
  return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def _plain(cell: str) -> str:
  """A cell as one cell: names of others may hold anything."""
  return " ".join(cell.split()).replace("|", "\\|")


def trouble(records: Iterable[Record]) -> str:
  """Which workers did not measure something, and why; "" where all did.

  What was tried and failed is named before what was not tried for it.

  Args:
    records: of one point; those of the newest key count.
  """
  found = reading.current(records)
  well = {r["replicate"] for r in found if r["status"] == "ok"}
  bad = [r for r in found if r["replicate"] not in well]
  tried = [r for r in bad if r["status"] not in store.NOT_TRIED]
  if not bad:
    return "" if well else "not measured"
  told = (tried or bad)[-1]
  words = f"{told['status']}: {told.get('reason', '')}".strip(": ")
  if not well:
    return words
  count = len({r["replicate"] for r in bad})
  return f"{count} of {units.counted(count + len(well), 'worker')}: {words}"


def settings(
    records: Iterable[Record], experiment: str, but: Collection[str]
) -> list[list[Record]]:
  """Returns an experiment's records by machine, versions and setting.

  Args:
    records: of one device's folder; those of other experiments are left out.
    experiment: its name.
    but: fields of a point that a setting is not told by.

  Returns:
    The records of each, the newest first.
  """
  groups: dict[str, list[Record]] = {}
  for record in records:
    point = record.get("point") or {}
    if record.get("experiment") == experiment and "length" in point:
      versions = record.get("versions") or {}
      setting = [
          record.get("machine"),
          record.get("device"),
          [versions.get(name) for name in _VERSIONS],
          {name: value for name, value in point.items() if name not in but},
      ]
      groups.setdefault(json.dumps(setting, sort_keys=True), []).append(record)
  started = lambda own: max(str(record.get("started", "")) for record in own)
  return sorted(groups.values(), key=started, reverse=True)


def place(
    records: Sequence[Record],
    environment: Mapping[str, Any],
    dtype: bool = True,
) -> str:
  """What was measured where: device, versions, sizes, and dtype if wanted."""
  versions: dict[str, str] = {}
  for record in records:
    versions.update(record.get("versions") or {})
  used = ", ".join(f"{name} {versions[name]}" for name in sorted(versions))
  point = records[0]["point"]
  sizes = f"B={point['batch']}, H={point['heads']}, d={point['width']}"
  values = point.get("value_width", point["width"])
  sizes += f", V={values}" if values != point["width"] else ""
  if dtype:
    sizes += f", {point['dtype']}"
  corpus = pathlib.Path(point.get("corpus") or "").name
  sizes += f", of {corpus}" if corpus else ""
  sizes += f", seed {point['seed']}" if point.get("seed") else ""
  where = environment.get("slug", environment.get("device", "device"))
  machine = records[-1].get("machine")
  if machine != environment.get("machine", machine):  # of another by that name
    where += f", machine {machine}"
  return f"{where}; {used}; {sizes}"


def workers(records: Iterable[Record]) -> str:
  """How many workers have measured something: `5 workers`."""
  count = len({r["replicate"] for r in records if r["status"] == "ok"})
  return units.counted(count, "worker")
