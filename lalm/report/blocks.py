"""The table of blocks: what rank each mechanism's matrix has off its diagonal.

A row is a mechanism, causal or full, at the largest length it was computed at;
its numbers are medians over the workers, each of which has read another text.
"""

import statistics
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from lalm import units
from lalm.report import growth
from lalm.report import medians
from lalm.scaling import reading

EXPERIMENT = "block_structure"
Record = Mapping[str, Any]
_HEAD = (
    "mechanism", "bound", "rank at n/2", "largest of all cuts", "above 1e-3",
    "effective rank", "as n grows",
)  # fmt: skip
# What a mechanism's transition says, and the family it makes it one of; the
# first that fits.
_FAMILIES = (
    ("all keys are kept", "all keys"),
    ("keys of a bucket", "all keys"),
    ("last keys", "window"),
    ("each level", "hierarchy"),
    ("few", "few keys"),
    ("landmarks", "few keys"),
    ("rank one", "delta rule"),
    ("scalar", "decay"),
    ("vector", "decay"),
    ("identity", "features"),
)
FAMILIES = (*dict.fromkeys(family for _, family in _FAMILIES), "other")


class Curve(NamedTuple):
  """What all workers have found of one mechanism, causal or full.

  Attributes:
    mechanism: its name.
    causal: whether it is.
    records: length -> records, status ok, one a worker.
    remark: at which lengths workers failed, and why; "" where none did.
  """

  mechanism: str
  causal: bool
  records: dict[int, list[Record]]
  remark: str = ""

  @property
  def name(self) -> str:
    """`linear`, or `linear, full`."""
    short = self.mechanism.rpartition(":")[2] or self.mechanism
    return short if self.causal else f"{short}, full"

  @property
  def family(self) -> str:
    """One of `FAMILIES`."""
    said = self.last["transition"]
    return next((f for words, f in _FAMILIES if words in said), "other")

  @property
  def lengths(self) -> list[int]:
    """Those it was computed at, ascending."""
    return sorted(self.records)

  @property
  def last(self) -> Mapping[str, Any]:
    """The blocks of the first worker at the largest length."""
    return self.records[max(self.records)][0]["blocks"]

  def bound(self, length: int) -> int | None:
    """The largest of its bounds at a length."""
    found = self.records[length][0]["blocks"]["bounds"]
    return None if None in found else max(found)

  def each(
      self, length: int, value: Callable[[Mapping[str, Any]], float]
  ) -> list[float]:
    """A number a worker: the middle one, or the higher, of those of its heads.

    Args:
      length: one of `lengths`.
      value: of what a record says of one head, with the `half` among its cuts.
    """
    found = []
    for record in self.records[length]:
      own = record["blocks"]
      half = own["cuts"].index(length // 2)
      each = [value({**head, "half": half}) for head in own["heads"]]
      found.append(statistics.median_high(each))
    return found

  def middles(self, value: Callable[[Mapping[str, Any]], float]) -> list[float]:
    """The median over workers at each of `lengths`."""
    return [statistics.median(self.each(n, value)) for n in self.lengths]


def halved(blocks: Mapping[str, Any]) -> float:
  """The rank above rounding of the block at n/2."""
  return blocks["ranks"][blocks["half"]]


def largest(blocks: Mapping[str, Any]) -> float:
  """The largest rank of a block above rounding."""
  return max(blocks["ranks"])


def practical(blocks: Mapping[str, Any]) -> float:
  """The largest rank of a block above a thousandth."""
  return max(blocks["practical_ranks"])


def effective(blocks: Mapping[str, Any]) -> float:
  """The effective rank of the block at n/2."""
  return blocks["middle"]["effective_rank"]


def settings(records: Iterable[Record]) -> list[list[Record]]:
  """The records of each setting, the newest first."""
  varying = ("mechanism", "form", "causal", "length")
  return medians.settings(records, EXPERIMENT, varying)


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns a table for each setting as Markdown, the newest first.

  Args:
    records: of one device's folder; those of other experiments are left out.
    environment: of that folder.
  """
  return "\n".join(
      _markdown(curves(own), heading(own, environment))
      for own in settings(records)
  )


def curves(records: Iterable[Record]) -> list[Curve]:
  """Returns the mechanisms by family and name, the causal ones first.

  Args:
    records: of one setting on one device.
  """
  members: dict[tuple[str, bool], dict[int, list[Record]]] = {}
  for record in records:
    point = record["point"]
    own = members.setdefault((point["mechanism"], point["causal"]), {})
    own.setdefault(point["length"], []).append(record)
  found = [_curve(*name, own) for name, own in members.items()]
  order = lambda curve: (
      not curve.causal,
      FAMILIES.index(curve.family) if curve.records else len(FAMILIES),
      curve.name,
  )
  return sorted(found, key=order)


def _curve(
    name: str, causal: bool, members: Mapping[int, Sequence[Record]]
) -> Curve:
  found, remarks = {}, []
  for length in sorted(members):
    newest = reading.newest(members[length])
    if newest:
      found[length] = [newest[worker] for worker in sorted(newest)]
    if why := medians.trouble(members[length]):
      remarks.append(f"n = {units.count(length)}: {why}")
  return Curve(name, causal, found, "; ".join(remarks))


def _markdown(found: list[Curve], title: str) -> str:
  lengths = [max(curve.records) for curve in found if curve.records]
  end = max(lengths, default=0)
  rows = [_row(curve, end) for curve in found if curve.records]
  notes = [f"- {curve.name}: {curve.remark}" for curve in found if curve.remark]
  table = medians.table(list(_HEAD), rows, words=2)
  words = [f"**{title}; n = {units.count(end)}**", "", *table, "", *notes, ""]
  return "\n".join(words)


def _row(curve: Curve, end: int) -> list[str]:
  length = max(curve.records)
  bound = curve.bound(length)
  said = curve.last["bound"]
  name = curve.name
  if length != end:
    name += f" (n = {units.count(length)})"
  ranks = curve.middles(largest)
  return [
      name,
      said if bound is None else f"{said} = {bound}",
      cell(curve.each(length, halved)),
      cell(curve.each(length, largest)),
      cell(curve.each(length, practical)),
      cell(curve.each(length, effective)),
      growth.words(curve.lengths, ranks, bound),
  ]


def cell(each: Sequence[float]) -> str:
  """The median with its interval, where there is one that says more."""
  value, bounds = statistics.median(each), medians.interval(each)
  if bounds is None or bounds[0] == bounds[1]:
    return _number(value)
  return f"{_number(value)} [{_number(bounds[0])}, {_number(bounds[1])}]"


def _number(value: float) -> str:
  return units.count(value) if value % 1 == 0 else f"{value:.1f}"


def setting(records: Sequence[Record], environment: Mapping[str, Any]) -> str:
  """What was computed where."""
  point = records[0]["point"]
  return (
      f"{medians.place(records, environment)}, W={point['window']}, drawn"
      f" log-decays divided by {point['horizon']}"
  )


def heading(records: Sequence[Record], environment: Mapping[str, Any]) -> str:
  """What was computed where, and what the table's numbers are."""
  return (
      f"{setting(records, environment)}; blocks A[i:, :i]; of a worker's heads"
      " the middle one, or the higher of two; medians over"
      f" {medians.workers(records)}, each with a text and gates of its own, in"
      " brackets 95 % of the medians of workers drawn anew"
  )
