"""Records as tables: which of them share a law, and what they say.

Records share a law only if they agree in everything but length and worker:
machine fingerprint, device, versions, experiment and every field of the
point.  Only status "ok" counts.  Where a point has several keys (the kernel has
changed), only the newest counts: of a kernel that is wrong by now, or not
measured yet, no law is told.

| quantity | value of one worker |
|---|---|
| time | median of `seconds` |
| memory | `memory.peak_bytes` |
| flops | `operations.products` |
| compile | `compile_seconds` |
| traffic, communication | `estimate.traffic_bytes`, ... |

Of a compiled record time is its `estimate.roofline_seconds`.
"""

import collections
import itertools
import json
import math
import numbers
import statistics
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

QUANTITIES = (
    "time", "memory", "flops", "compile", "traffic", "communication",
)  # fmt: skip
IDENTITY = ("experiment", "machine", "device", "versions", "provenance")
VARYING = ("mechanism", "form", "pass", "length", "chunk")


class Curve(NamedTuple):
  """One kernel in one pass: its records by length and worker.

  Attributes:
    setting: what it shares with the curves it may be compared with.
    mechanism: name of the mechanism.
    form: name of the form.
    pass_: "forward" or "forward_backward".
    chunk: the chunk of its points.
    records: length -> replicate -> record, status ok only.
  """

  setting: dict[str, Any]
  mechanism: str
  form: str
  pass_: str
  chunk: Any
  records: dict[int, dict[int, Mapping]]

  @property
  def name(self) -> str:
    """The curve as crossovers name it."""
    return f"{self.mechanism}.{self.form}"


def quantity(record: Mapping, name: str) -> float:
  """The value of a quantity in one record.

  Args:
    record: a record.
    name: one of `QUANTITIES`.

  Returns:
    The value; NaN where it is missing, not finite or not positive.
  """
  value: Any
  if name == "time" and record.get("provenance") == "compiled":
    value = (record.get("estimate") or {}).get("roofline_seconds")
  elif name == "time":
    seconds = [number(s) for s in record.get("seconds") or ()]
    seconds = [s for s in seconds if not math.isnan(s)]
    value = statistics.median(seconds) if seconds else None
  elif name == "memory":
    value = (record.get("memory") or {}).get("peak_bytes")
  elif name == "flops":
    value = (record.get("operations") or {}).get("products")
  elif name in ("traffic", "communication"):
    value = (record.get("estimate") or {}).get(f"{name}_bytes")
  else:
    value = record.get("compile_seconds")
  return number(value)


def number(value: Any) -> float:
  """A positive finite number as it is, anything else as NaN."""
  if isinstance(value, bool) or not isinstance(value, numbers.Real):
    return math.nan
  size = float(value)
  return size if 0 < size < math.inf else math.nan


def curves(records: Iterable[Mapping]) -> list[Curve]:
  """Groups the records that may share a law.

  Args:
    records: records of any status, in any order.

  Returns:
    The curves in an order of their own, whatever that of the records.
  """
  groups: dict[str, list[Mapping]] = collections.defaultdict(list)
  for record in records:
    point = record.get("point") or {}
    if "status" in record and "length" in point:
      point = {k: v for k, v in point.items() if k != "length"}
      identity = [point, {k: record.get(k) for k in IDENTITY}]
      groups[json.dumps(identity, sort_keys=True)].append(record)
  found = [_curve(groups[key]) for key in sorted(groups)]
  return [curve for curve in found if curve.records]


def _curve(members: list[Mapping]) -> Curve:
  """The curve of records that agree in all but length, key and worker."""
  first = members[0]
  point = first["point"]
  setting = {k: first[k] for k in IDENTITY if k in first}
  setting |= {k: point[k] for k in sorted(point) if k not in VARYING}
  by_length: dict[int, list[Mapping]] = collections.defaultdict(list)
  for record in members:
    by_length[record["point"]["length"]].append(record)
  found = {n: newest(by_length[n]) for n in sorted(by_length)}
  return Curve(
      setting,
      mechanism=str(point.get("mechanism")),
      form=str(point.get("form")),
      pass_=str(point.get("pass")),
      chunk=point.get("chunk"),
      records={n: own for n, own in found.items() if own},
  )


def current(members: Iterable[Mapping]) -> list[Mapping]:
  """The records of the newest key, oldest first.

  A program that could not be made has a key of no meaning, `planned` is False
  there: it counts only where there is nothing else.

  Args:
    members: records of one point, in any order.
  """

  def age(record: Mapping) -> tuple[str, str]:
    return str(record.get("started", "")), str(record.get("key", ""))

  ordered = sorted(members, key=age)
  ordered = [r for r in ordered if r.get("planned", True)] or ordered
  return [r for r in ordered if r.get("key") == ordered[-1].get("key")]


def newest(members: Iterable[Mapping]) -> dict[int, Mapping]:
  """Replicate -> record, status ok, of the newest key.

  Args:
    members: records of one point, in any order.
  """
  own = [r for r in current(members) if r.get("status") == "ok"]
  found = {int(record.get("replicate", 0)): record for record in own}
  return {replicate: found[replicate] for replicate in sorted(found)}


def table(curve: Curve, name: str) -> tuple[list[int], list[int], np.ndarray]:
  """A quantity of a curve by worker and length.

  Args:
    curve: the records.
    name: one of `QUANTITIES`.

  Returns:
    lengths, replicates and values [replicates, lengths], NaN where missing,
    without empty rows and columns.
  """
  lengths = list(curve.records)
  replicates = sorted(set().union(*map(set, curve.records.values())))
  values = np.full((len(replicates), len(lengths)), np.nan)
  for j, length in enumerate(lengths):
    for i, replicate in enumerate(replicates):
      if replicate in curve.records[length]:
        values[i, j] = quantity(curve.records[length][replicate], name)
  rows = np.isfinite(values).any(axis=1)
  columns = np.isfinite(values).any(axis=0)
  return (
      list(itertools.compress(lengths, columns)),
      list(itertools.compress(replicates, rows)),
      values[rows][:, columns],
  )


def closed_form(curve: Curve, lengths: list[int]) -> np.ndarray | None:
  """Closed-form operations at each length; None unless all are known.

  None too where they grow slower than the root of the length, as log n does:
  they have no order then.
  """
  counts = []
  for length in lengths:
    known = [
        number((record.get("operations") or {}).get("closed_form"))
        for record in curve.records[length].values()
    ]
    counts.append(max((k for k in known if k == k), default=math.nan))
  array = np.array(counts)
  rising = np.isfinite(array).all() and (np.diff(array) > 0).all()
  if not rising:
    return None
  ends = np.log([lengths[-1] / lengths[0], array[-1] / array[0]])
  return array if ends[1] >= ends[0] / 2 else None


def share_of_ceiling(curve: Curve) -> float | None:
  """Median over workers of closed-form products per second over the ceiling.

  Args:
    curve: the records; the largest length with a time counts.

  Returns:
    The share, 1 at the measured rate of matrix products; None where the
    records lack a count or a ceiling.
  """
  for length in sorted(curve.records, reverse=True):
    shares, timed = [], False
    for record in curve.records[length].values():
      seconds = quantity(record, "time")
      timed = timed or not math.isnan(seconds)
      products = number((record.get("operations") or {}).get("closed_form"))
      rate = number((record.get("ceilings") or {}).get("products_per_second"))
      shares.append(products / seconds / rate)
    shares = [share for share in shares if not math.isnan(share)]
    if timed:
      return statistics.median(shares) if shares else None
  return None
