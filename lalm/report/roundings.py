"""The table of rounding errors: of each form, a column for each length."""

from typing import Any, Iterable, Mapping, NamedTuple

from lalm import units
from lalm.report import medians
from lalm.scaling import reading

EXPERIMENT = "form_error"
Record = Mapping[str, Any]
OWN = ("mechanism", "form", "dtype", "length", "chunk")  # fields of a series


class Series(NamedTuple):
  """A form in one dtype.

  Attributes:
    mechanism: its name.
    form: of the mechanism.
    dtype: of its inputs.
    chunk: the form's own if 0; None where it has none.
    records: length -> what was measured; of several workers the farthest.
    remarks: length -> why nothing was measured.
  """

  mechanism: str
  form: str
  dtype: str
  chunk: int | None
  records: dict[int, Record]
  remarks: dict[int, str]

  @property
  def name(self) -> str:
    """`softmax.blockwise`; a user's `package.module:NAME` gives `NAME`."""
    tail = f" C={self.chunk}" if self.chunk else ""
    return f"{self.mechanism.rpartition(':')[2]}.{self.form}{tail}"


def series(records: Iterable[Record]) -> list[Series]:
  """Returns the series of one setting, by mechanism, form, dtype and chunk.

  Args:
    records: of one setting on one device.
  """
  members: dict[tuple[Any, ...], dict[int, list[Record]]] = {}
  for record in records:
    point = record["point"]
    whose = tuple(point.get(n) for n in OWN if n != "length")
    lengths = members.setdefault(whose, {})
    lengths.setdefault(point["length"], []).append(record)
  found = []
  order = lambda item: (item[0][:-1], item[0][-1] or 0)
  for whose, lengths in sorted(members.items(), key=order):
    own: dict[int, Record] = {}
    remarks = {}
    for length in sorted(lengths):
      newest = list(reading.newest(lengths[length]).values())
      if newest:
        own[length] = max(newest, key=relative)
      if remark := medians.trouble(lengths[length]):
        remarks[length] = remark
    mechanism, form, dtype, chunk = whose
    found.append(Series(mechanism, form, dtype, chunk, own, remarks))
  return found


def relative(record: Record) -> float:
  """The distance that the gate of a timing compares with its tolerance."""
  return record["distance"]["relative"]


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns a table for each setting as Markdown, the newest first.

  Args:
    records: of one device's folder; those of other experiments are left out.
    environment: of that folder.
  """
  return "\n".join(
      _markdown(own, environment)
      for own in medians.settings(records, EXPERIMENT, OWN)
  )


def _markdown(records: list[Record], environment: Mapping[str, Any]) -> str:
  found = series(records)
  lengths = sorted({n for s in found for n in (*s.records, *s.remarks)})
  head = ["form", "dtype", *(f"n = {n:,}" for n in lengths)]
  rows = [
      [one.name, one.dtype, *(_cell(one.records.get(n)) for n in lengths)]
      for one in found
      if one.records
  ]
  allowed = [_allowed(found, dtype, lengths) for dtype in _dtypes(found)]
  reasons: dict[str, list[str]] = {}
  for one in found:
    for length, remark in one.remarks.items():
      place = f"{one.name} {one.dtype} at n = {length:,}"
      reasons.setdefault(remark, []).append(place)
  point = records[0]["point"]
  heading = (
      f"**{medians.place(records, environment, dtype=False)},"
      f" {'causal' if point['causal'] else 'full'}; relative distance to the"
      " definition in float64 on the same inputs: the first half of the rows,"
      " or half of the other's, whichever is larger**"
  )
  notes = [f"- {'; '.join(where)}: {why}" for why, where in reasons.items()]
  table = medians.table(head, [*rows, *allowed], words=2)
  star = "- \\*: beyond the tolerance, with which no form is ever timed"
  return "\n".join([heading, "", *table, "", star, *notes, ""])


def _dtypes(found: Iterable[Series]) -> list[str]:
  return sorted({one.dtype for one in found if one.records})


def _allowed(
    found: Iterable[Series], dtype: str, lengths: Iterable[int]
) -> list[str]:
  """A line of tolerances."""
  known = tolerances(one for one in found if one.dtype == dtype)
  cells = [f"{known[n]:.2g}" if n in known else "" for n in lengths]
  return ["tolerance", dtype, *cells]


def tolerances(found: Iterable[Series]) -> dict[int, float]:
  """Returns length -> the tolerance of the gate.

  Args:
    found: series of one dtype.
  """
  known = {
      length: record["distance"]["tolerance"]
      for one in found
      for length, record in one.records.items()
  }
  return {length: known[length] for length in sorted(known)}


def _cell(record: Record | None) -> str:
  if record is None:
    return units.MISSING
  star = "" if record["distance"]["within"] else " \\*"
  return f"{relative(record):.2g}{star}"
