"""The table of tasks: seconds of each way, over ours, and errors."""

from collections.abc import Iterable, Mapping
import statistics
from typing import Any

from lalm import units
from lalm.report import anatomy
from lalm.report import medians

EXPERIMENT = "linear_algebra"
_OURS = "lalm"
Record = Mapping[str, Any]
_HEAD = ("task", "way", "a call", "over ours", "error")
_NOTE = (
    "- a call: medians over {workers}, compiled before; over ours: medians of"
    " ratios of the same workers; error: the greatest, relative, against"
    " float64 (of traces the root mean square over 100 draws)"
)


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns the tables of all settings as Markdown, the newest first.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  return anatomy.tables(records, environment, EXPERIMENT, _markdown)


def _markdown(setting: anatomy.Setting, where: str) -> str:
  tasks: dict[str, list[Record]] = {}
  for record in setting.records:
    tasks.setdefault(record["point"]["mechanism"], []).append(record)
  rows, remarks = [], list(setting.remarks)
  for task, own in tasks.items():
    for way in sorted(own[0]["ways"], key=lambda name: (name != _OURS, name)):
      reasons = [r["ways"].get(way, {}).get("reason", "") for r in own]
      if any(reasons):
        remarks.append(f"- {task}, {way}: {next(filter(None, reasons))}")
        continue
      rows.append(_row(task, way, [r for r in own if way in r["ways"]]))
  lines = [f"**{setting.heading}; {where}**", ""]
  lines += [*medians.table(_HEAD, rows, words=2), ""]
  note = _NOTE.format(workers=medians.workers(setting.records))
  told = [f"- {task}: {own[-1]['meaning']}" for task, own in tasks.items()]
  return "\n".join([*lines, *told, note, *remarks, ""])


def _row(task: str, way: str, own: list[Record]) -> list[str]:
  of = lambda r, name: statistics.median(r["ways"][name]["seconds"])
  seconds = [of(r, way) for r in own]
  ratios = [of(r, way) / of(r, _OURS) for r in own]
  return [
      task,
      way,
      units.seconds(statistics.median(seconds)),
      "" if way == _OURS else medians.cell(ratios),
      f"{max(r['ways'][way]['error'] for r in own):.1e}",
  ]
