"""The table of steps: a token more, beside its floors.

A line is a mechanism in a setting; its ratios are medians over the workers that
have timed both, with the interval of `medians`.
"""

import statistics
from typing import Any, Iterable, Mapping, NamedTuple

from lalm import units
from lalm.report import medians
from lalm.scaling import reading

EXPERIMENT = "step_floor"
Record = Mapping[str, Any]
_HEAD = (
    "mechanism", "state", "scaling it", "a step", "step / scaling", "one call",
    "call of nothing", "call / nothing",
)  # fmt: skip


class Line(NamedTuple):
  """What a mechanism's steps take, medians over workers, or why not.

  Attributes:
    mechanism: its name.
    state_bytes: of the state that is scaled and stepped.
    scaling: seconds to scale it once.
    step: seconds of a step in the scan.
    call: seconds of one call of `step` from Python, with a batch of one.
    no_op: seconds of a call that computes nothing.
    of_scaling: step / scaling, a number a worker.
    of_no_op: call / no_op, a number a worker.
    remark: why nothing was timed, "" where it was.
  """

  mechanism: str
  state_bytes: int | None = None
  scaling: float | None = None
  step: float | None = None
  call: float | None = None
  no_op: float | None = None
  of_scaling: tuple[float, ...] = ()
  of_no_op: tuple[float, ...] = ()
  remark: str = ""


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns a table for each setting as Markdown, the newest first.

  Args:
    records: of one device's folder; those of other experiments are left out.
    environment: of that folder.
  """
  return "\n".join(
      _markdown(lines(own), _heading(own, environment))
      for own in medians.settings(records, EXPERIMENT, ("mechanism",))
  )


def lines(records: Iterable[Record]) -> list[Line]:
  """Returns a line for each mechanism, in the order of their names.

  Args:
    records: of one setting on one device.
  """
  members: dict[str, list[Record]] = {}
  for record in records:
    members.setdefault(record["point"]["mechanism"], []).append(record)
  return [_line(name, members[name]) for name in sorted(members)]


def _line(name: str, records: list[Record]) -> Line:
  found = list(reading.newest(records).values())
  if not found:
    return Line(name, remark=medians.trouble(records))
  reasons = [r["floors"].get("reason", "") for r in found]
  found = [r for r, reason in zip(found, reasons) if not reason]
  if not found:
    return Line(name, remark=f"floors: {reasons[-1]}")
  each: dict[str, list[float]] = {}
  for record in found:
    floors = record["floors"]
    steps = [
        seconds / record["point"]["length"] for seconds in record["seconds"]
    ]
    for what, samples in {**floors, "step": steps}.items():
      if what != "state_bytes":
        each.setdefault(what, []).append(statistics.median(samples))
  middle = {what: statistics.median(values) for what, values in each.items()}
  over = lambda a, b: tuple(x / y for x, y in zip(each[a], each[b]))
  return Line(
      name,
      found[-1]["floors"]["state_bytes"],
      middle["scaling"],
      middle["step"],
      middle["call"],
      middle["no_op"],
      over("step", "scaling"),
      over("call", "no_op"),
  )


def _markdown(found: list[Line], heading: str) -> str:
  rows = [
      [
          line.mechanism,
          units.size(line.state_bytes),
          units.seconds(line.scaling),
          units.seconds(line.step),
          medians.cell(line.of_scaling),
          units.seconds(line.call),
          units.seconds(line.no_op),
          medians.cell(line.of_no_op),
      ]
      for line in found
      if not line.remark
  ]
  notes = [f"- {x.mechanism}: {x.remark}" for x in found if x.remark]
  table = medians.table(list(_HEAD), rows, words=1)
  return "\n".join([f"**{heading}**", "", *table, "", *notes, ""])


def _heading(records: list[Record], environment: Mapping[str, Any]) -> str:
  point = records[0]["point"]
  return (
      f"{medians.place(records, environment)}, {point['length']} steps in a"
      " compiled scan; one call: from Python, B=1; medians over"
      f" {medians.workers(records)}, in brackets 95 % of the medians of"
      " workers drawn anew"
  )
