"""What compilers say of machines not at hand, as a table by form and length.

Bytes are of one device. Nothing here was run: the roofline is the longest of
products, traffic and communication at the published peaks.
"""

from typing import Any, Iterable, Mapping, Sequence

from lalm import units
from lalm.report import laws
from lalm.report.results import Group, measured
from lalm.scaling import reading

HEADER = (
    "form",
    "pass",
    "n",
    "split by",
    "memory of a device",
    "traffic",
    "communication",
    "roofline",
    "compiler's time",
)
NOTES = (
    "compiler's time: cycles that it estimates of each instruction, as often as"
    " that runs, without what devices send each other; on GPUs it says none",
)


def tells(group: Group) -> bool:
  """Whether a group's records are of programs that were not run."""
  return group.setting.get("provenance") == laws.COMPILED


def rows(group: Group) -> Iterable[tuple[str, ...]]:
  """A row for each form, pass and length that was compiled.

  Args:
    group: of compiled records.
  """
  for curve in group.curves:
    for pass_ in group.passes():
      for length in group.lengths():
        for record in measured(group.points.get((curve, pass_, length), ())):
          name, what = curve.name, laws.pass_name(pass_)
          yield name, what, units.count(length), *_cells(record)


def heading(records: Sequence[Mapping[str, Any]], what: str) -> str:
  """Returns the heading of a table of several machines.

  Args:
    records: of one setting.
    what: the table is of.
  """
  versions: dict[str, str] = {}
  for record in records:
    versions.update(record.get("versions") or {})
  used = ", ".join(f"{name} {versions[name]}" for name in sorted(versions))
  point = records[0]["point"]
  causal = "causal" if point["causal"] else "full"
  return (
      f"{what}, B={point['batch']}, H={point['heads']}, d={point['width']},"
      f" {point['dtype']}, {causal}; {used}; compiled, not run"
  )


def _cells(record: Mapping[str, Any]) -> tuple[str, ...]:
  memory, estimate = record.get("memory") or {}, record.get("estimate") or {}
  moved = reading.quantity(record, "communication")
  return (
      str(record.get("sharding") or ""),
      units.size(memory.get("device_bytes")),
      units.size(estimate.get("traffic_bytes")),
      units.size(moved) if moved == moved else "none",
      units.seconds(estimate.get("roofline_seconds")),
      units.seconds(estimate.get("compiler_seconds")),
  )
