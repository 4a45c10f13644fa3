"""The table of correctness: how far each form is off, by dtype and pass."""

from typing import Any, Iterable, Mapping

from lalm import units
from lalm.report import laws
from lalm.report import medians
from lalm.scaling import reading

EXPERIMENT = "correctness"
Record = Mapping[str, Any]
_COLUMN = ("dtype", "length", "pass")
_OWN = ("mechanism", "form", "chunk", *_COLUMN)
_NOTE = (
    "- Relative root mean square of the difference: forward, of 64 rows to the"
    " definition in float64; with backward, of the farthest gradient, in random"
    " directions, to central differences of the definition. \\*: beyond the"
    " tolerance"
)


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns a table for each setting as Markdown, the newest first.

  Args:
    records: of one device's folder; those of other experiments are left out.
    environment: of that folder.
  """
  found = medians.settings(records, EXPERIMENT, _OWN)
  return "\n".join(_markdown(own, environment) for own in found)


def _markdown(records: list[Record], environment: Mapping[str, Any]) -> str:
  points: dict[tuple, list[Record]] = {}
  for record in records:
    whose = tuple(record["point"].get(name) for name in _OWN)
    points.setdefault(whose, []).append(record)
  cells = {whose: _cell(own) for whose, own in points.items()}
  columns = sorted({whose[3:] for whose in cells}, key=str)
  forms = sorted({whose[:3] for whose in cells}, key=str)
  rows = [
      [_name(*form), *(cells.get((*form, *c), units.MISSING) for c in columns)]
      for form in forms
  ]
  allowed = [_allowed(points, column) for column in columns]
  point = records[0]["point"]
  kind = "causal" if point["causal"] else "full"
  heading = f"**{medians.place(records, environment, dtype=False)}, {kind}**"
  head = ["form", *(_title(*column) for column in columns)]
  lines = medians.table(head, [*rows, ["tolerance", *allowed]], words=1)
  counts = f"- {_counted(points.values())}"
  return "\n".join(
      [heading, "", *lines, "", counts, _NOTE, *_notes(points), ""]
  )


def _name(mechanism: str, form: str, chunk: int | None) -> str:
  tail = f" C={chunk}" if chunk else ""
  return f"{mechanism.rpartition(':')[2]}.{form}{tail}"


def _title(dtype: str, length: int, pass_: str) -> str:
  return f"{dtype}, {laws.pass_name(pass_)}, n = {length:,}"


def _compared(records: Iterable[Record]) -> list[Record]:
  """The newest records that have been compared, right or wrong."""
  return [r for r in reading.current(records) if r.get("error")]


def _relative(record: Record) -> float:
  """How far it is off; infinity where it is not finite."""
  found = record["error"].get("relative")
  return float("inf") if found is None else found


def _cell(records: list[Record]) -> str:
  """The farthest of a point's replicates."""
  compared = _compared(records)
  if not compared:
    return units.MISSING
  farthest = max(compared, key=_relative)
  star = "" if farthest["status"] == "ok" else " \\*"
  return f"{_relative(farthest):.1e}{star}"


def _allowed(points: Mapping[tuple, list[Record]], column: tuple) -> str:
  own = {
      record["error"]["tolerance"]
      for whose, records in points.items()
      if whose[3:] == column
      for record in _compared(records)
  }
  return ", ".join(f"{x:.1e}" for x in sorted(own)) or units.MISSING


def _counted(points: Iterable[list[Record]]) -> str:
  """How many are right, of how many."""
  found = [_compared(records) for records in points]
  right = sum(bool(f) and all(r["status"] == "ok" for r in f) for f in found)
  return f"{right} of {len(found)} are within their tolerance"


def _notes(points: Mapping[tuple, list[Record]]) -> list[str]:
  """Why some have no figure, each reason once."""
  reasons: dict[str, list[str]] = {}
  for whose, records in points.items():
    if remark := medians.trouble(records):
      place = f"{_name(*whose[:3])} {_title(*whose[3:])}"
      reasons.setdefault(remark, []).append(place)
  return [f"- {'; '.join(where)}: {why}" for why, where in reasons.items()]
