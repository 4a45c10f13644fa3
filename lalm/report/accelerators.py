"""What was measured on an accelerator, as a table by form and length.

Beside the wall clock stands the device's own time, and shares of what the same
workers have measured the device to do at best.
"""

from collections.abc import Iterable, Mapping, Sequence
import math
import statistics
from typing import Any

from lalm import units
from lalm.report import laws
from lalm.report.results import Group, measured
from lalm.scaling import reading

HEADER = (
    "form",
    "pass",
    "n",
    "time",
    "device's time",
    "of matrix rate",
    "of bandwidth",
    "peak memory",
    "compiler's memory",
)
NOTES = (
    "device's time: from its profile, in which the host's part of a call is"
    " not; shares are of the device's time, of the wall clock's where there is"
    " none",
    "of matrix rate: closed-form products over the measured rate of a large"
    " matrix product in the same dtype; of bandwidth: inputs and outputs, moved"
    " once, over the measured rate of copying; of a step a cache is read, any"
    " other state read and written",
    "memory: beyond the inputs; the peak is the allocator's, the compiler's is"
    " temporaries and outputs",
    "calls follow each other on the same inputs, caches are not emptied between"
    " them",
)

Record = Mapping[str, Any]
# Whose state is a cache: a step writes a token's place in it and reads it all.
# Any other mechanism's is made anew by every token.
CACHED = ("softmax", "window")


def tells(group: Group) -> bool:
  """Whether a group was measured on something that keeps a profile."""
  known = group.setting.get("device") not in (None, "cpu")
  return known and group.setting.get("provenance") != laws.COMPILED


def rows(group: Group) -> Iterable[tuple[str, ...]]:
  """A row for each form, pass and length that was measured.

  Args:
    group: of measured records.
  """
  for curve in group.curves:
    for pass_ in group.passes():
      for length in group.lengths():
        found = measured(group.points.get((curve, pass_, length), ()))
        if found:
          name, what = curve.name, laws.pass_name(pass_)
          yield name, what, units.count(length), *_cells(found)


def _cells(records: Sequence[Record]) -> tuple[str, ...]:
  peak = _median(records, lambda r: _number(r, "memory", "peak_bytes"))
  planned = _median(records, _planned)
  ratio = f" ({peak / planned:.2f})" if peak and planned else ""
  return (
      units.seconds(_median(records, lambda r: reading.quantity(r, "time"))),
      units.seconds(_median(records, _own)),
      units.share(_median(records, _of_products)),
      units.share(_median(records, _of_bandwidth)),
      units.size(peak),
      f"{units.size(planned)}{ratio}",
  )


def _median(records: Iterable[Record], value: Any) -> float | None:
  """Over workers, of those that know it."""
  found = [x for x in map(value, records) if not math.isnan(x)]
  return statistics.median(found) if found else None


def _number(record: Record, field: str, name: str) -> float:
  return reading.number((record.get(field) or {}).get(name))


def _own(record: Record) -> float:
  return _number(record, "device_time", "seconds")


def _seconds(record: Record) -> float:
  """The device's time, or the wall clock's where it is not known."""
  own = _own(record)
  return reading.quantity(record, "time") if math.isnan(own) else own


def _planned(record: Record) -> float:
  found: Mapping[str, Any] = record.get("memory") or {}
  names = ("compiler_temp_bytes", "compiler_output_bytes")
  sizes = [found[name] for name in names if found.get(name) is not None]
  return float(sum(sizes)) if len(sizes) == len(names) else math.nan


def _of_products(record: Record) -> float:
  rate = _number(record, "ceilings", "products_per_second")
  return _number(record, "operations", "closed_form") / _seconds(record) / rate


def _of_bandwidth(record: Record) -> float:
  rate = _number(record, "ceilings", "bytes_per_second")
  return _moved(record) / _seconds(record) / rate


def _moved(record: Record) -> float:
  """Bytes that a call, or a token of it, must read and write.

  A state that a step takes over is among the call's inputs and, at the same
  place, among its outputs. Records that say nothing of places have its size.
  """
  names = ("compiler_argument_bytes", "compiler_output_bytes")
  given, made = (_number(record, "memory", name) for name in names)
  point = record["point"]
  if point["pass"] != "step":
    return given + made
  state = _number(record, "memory", "compiler_alias_bytes")
  if math.isnan(state):
    state = reading.number(record.get("state_bytes"))
  tokens = min(point.get("tokens", 1), point["length"])
  each = 1 if point["mechanism"] in CACHED else 2
  return each * state + (given + made - 2 * state) / tokens
