"""The table of longest contexts: forms by machines, nothing of it measured.

A cell is the longest length that the machine's compiler finds room for, and the
roofline of a call at that length.
"""

import json
import pathlib
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from lalm import store
from lalm import units
from lalm.report import build
from lalm.report import compiled
from lalm.report import laws
from lalm.report import medians
from lalm.scaling import reading

EXPERIMENT = "longest_context"
_WHAT = "longest context of a call"
_MOST = 2**30  # tokens a search goes up to
_CLOSE = 1.02  # ratio of lengths that needs no mark
Record = Mapping[str, Any]


class Line(NamedTuple):
  """One form in one pass.

  Attributes:
    name: of the form.
    pass_: forward, or forward_backward.
    found: machine -> record of its longest length.
    remarks: machine -> why there is none.
  """

  name: str
  pass_: str
  found: dict[str, Record]
  remarks: dict[str, str]


class Setting(NamedTuple):
  """What was compiled, for which machines, and its lines."""

  heading: str
  machines: tuple[str, ...]
  lines: tuple[Line, ...]


def settings(records: Iterable[Record]) -> list[Setting]:
  """Returns a setting for each that was asked for, that of most forms first.

  Args:
    records: of all machines' folders; those of other experiments are left out.
  """
  groups: dict[str, list[Record]] = {}
  own = ("mechanism", "form", "pass", "chunk", "length")
  for record in records:
    point = record.get("point") or {}
    if record.get("experiment") == EXPERIMENT and "length" in point:
      shared = {name: x for name, x in point.items() if name not in own}
      groups.setdefault(json.dumps(shared, sort_keys=True), []).append(record)
  found = [_setting(members) for _, members in sorted(groups.items())]
  return sorted(found, key=lambda setting: -len(setting.lines))


def _setting(records: Sequence[Record]) -> Setting:
  machines = dict.fromkeys(str(r.get("machine")) for r in records)
  members: dict[tuple[str, str], dict[str, list[Record]]] = {}
  for record in records:
    point = record["point"]
    name = laws.short(f"{point['mechanism']}.{point['form']}")
    name += f" C={point['chunk']}" if point.get("chunk") else ""
    each = members.setdefault((name, point["pass"]), {})
    each.setdefault(str(record.get("machine")), []).append(record)
  # softmax first, which the others are compared with
  ordered = sorted(members, key=lambda p: (not p[0].startswith("softmax."), p))
  lines = [_line(*place, members[place]) for place in ordered]
  return Setting(
      compiled.heading(records, _WHAT), tuple(machines), tuple(lines)
  )


def _line(name: str, pass_: str, each: Mapping[str, list[Record]]) -> Line:
  found, remarks = {}, {}
  for machine, records in each.items():
    newest = reading.newest(records)
    if newest:
      found[machine] = newest[max(newest)]
    elif trouble := medians.trouble(records):
      remarks[machine] = trouble
  return Line(name, pass_, found, remarks)


def length(record: Record) -> int:
  """The longest length of a record."""
  return record["longest"]["length"]


def markdown(found: Iterable[Setting]) -> str:
  """Returns a table for each setting, a column a machine."""
  return "\n".join(_table(setting) for setting in found)


def _table(setting: Setting) -> str:
  head = ["form", "pass", *setting.machines]
  rows = [
      [
          line.name,
          laws.pass_name(line.pass_),
          *(_cell(line.found.get(machine)) for machine in setting.machines),
      ]
      for line in setting.lines
  ]
  notes = [
      "In brackets the roofline of a call at that length: the longest of"
      " products, traffic and communication at the published peaks.",
      f"A length fits, one 2 % longer does not; {units.count(_MOST)} or more is"
      " where a search ends. Where it ended sooner, the shortest length that is"
      " known not to fit stands after a <.",
  ]
  if any(map(_partitioned, _records(setting))):
    notes.append(
        "*: a sequence that XLA's partitioner splits as it likes; the library"
        " has no way of its own."
    )
  for line in setting.lines:
    for machine, remark in line.remarks.items():
      what = laws.pass_name(line.pass_)
      notes.append(f"{line.name}, {what}, {machine}: {remark}")
  table = medians.table(head, rows, words=2)
  notes = [f"- {note}" for note in notes]
  return "\n".join([f"**{setting.heading}**", "", *table, "", *notes, ""])


def _cell(record: Record | None) -> str:
  if record is None:
    return ""
  seconds = (record.get("estimate") or {}).get("roofline_seconds")
  fits, fails = length(record), record["longest"].get("fails")
  coarse = fails is not None and fails > _CLOSE * fits
  bound = f" < {units.count(fails)}" if coarse else ""
  mark = "*" if _partitioned(record) else ""
  return f"{units.count(fits)}{mark}{bound} ({units.seconds(seconds)})"


def _records(setting: Setting) -> list[Record]:
  return [record for line in setting.lines for record in line.found.values()]


def _partitioned(record: Record) -> bool:
  return record.get("sharding") == "partitioner"


def publish(folder: pathlib.Path) -> None:
  """Writes `table.md` and the figure of all machines; prints the table.

  Args:
    folder: has a folder with `records.jsonl` for each machine.
  """
  records = [
      record
      for path in sorted(folder.glob("*/records.jsonl"))
      for record in store.load(path).records
  ]
  found = settings(records)
  each = [(setting,) for setting in found]
  build.publish_machines(folder, "longest", markdown(found), each)
