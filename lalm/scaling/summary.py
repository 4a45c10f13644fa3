"""Records in, laws and crossovers out: what fits.json and crossovers.json say.

| quantity | how it is fitted |
|---|---|
| time | relative noise, as large as the workers show |
| memory | beside it a floor of 20 MiB of additive noise |
| flops | exact |
| compile | an offset is its substance, not an overhead |
| traffic, communication | exact |

Of compiled records all but compile is exact.

Time and operations of causal forms are taken against the closed-form count
where the records carry one.  Numbers are rounded to six digits, so equal
records give equal bytes.
"""

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lalm.scaling import crossovers, intervals, laws, reading
from lalm.scaling.reading import Curve

MEMORY_FLOOR = 20 * 2**20
DIGITS = 6
COMPARED = ("time", "memory", "flops")


class Reading(NamedTuple):
  """How a quantity is read from noise; see `laws.fit`, `intervals.sample`."""

  floor: float = 0.0
  exact: bool = False
  overhead: bool = True
  negligible: float = 0.02


READINGS = {
    "time": Reading(),
    "memory": Reading(floor=MEMORY_FLOOR, negligible=0.0),
    "flops": Reading(exact=True, negligible=0.0),
    "compile": Reading(overhead=False, negligible=0.1),
    "traffic": Reading(exact=True, negligible=0.0),
    "communication": Reading(exact=True, negligible=0.0),
}


def law(curve: Curve, name: str) -> dict[str, Any] | None:
  """One object of fits.json.

  Args:
    curve: the records.
    name: a key of `READINGS`.

  Returns:
    The object; None where no record has the quantity.
  """
  lengths, replicates, values = reading.table(curve, name)
  if not lengths:
    return None
  noise = READINGS[name]
  if curve.setting.get("provenance") == "compiled" and name != "compile":
    noise = READINGS["traffic"]  # a compiler says the same again
  data = intervals.sample(values, noise.floor, noise.exact)
  counts = None
  if name in ("time", "flops") and curve.setting.get("causal"):
    counts = reading.closed_form(curve, lengths)
  found = laws.fit(
      np.array(lengths),
      data,
      counts=counts,
      overhead=noise.overhead,
      negligible=noise.negligible,
  )
  result = curve.setting | {
      "mechanism": curve.mechanism,
      "form": curve.form,
      "pass": curve.pass_,
      "chunk": curve.chunk,
      "quantity": name,
      "lengths": lengths,
      "replicates": len(replicates),
      "share_of_ceiling": None,
  }
  if name == "time":
    result["share_of_ceiling"] = rounded(reading.share_of_ceiling(curve))
  return result | _worded(found, data, lengths)


def _worded(
    found: laws.Law, data: intervals.Sample, lengths: list[int]
) -> dict[str, Any]:
  """The fields of fits.json that come from the fit."""
  half, terms = intervals.band(data), None
  if found.terms is not None:
    names = ("1", "n", "n log n", "n^2")
    terms = {k: rounded(v) for k, v in zip(names, found.terms)}
  return {
      "exponent": rounded(found.exponent, DIGITS),
      "exponent_ci": _pair(found.interval, DIGITS),
      "terms": terms,
      "verdict": found.verdict,
      "reason": found.reason,
      "offset": rounded(found.offset),
      "law": {
          "offset": rounded(found.offset),
          "linear": rounded(found.linear),
          "coefficient": rounded(found.coefficient),
          "power": rounded(found.power, DIGITS),
      },
      "against": found.against,
      "local_slopes": [
          {
              "length": rounded(math.sqrt(slope.low * slope.high)),
              "slope": rounded(slope.slope, DIGITS),
              "ci": _pair(slope.interval, DIGITS),
          }
          for slope in found.slopes
      ],
      "centre": [rounded(value) for value in data.plain.tolist()],
      "band": [
          None if half is None else _pair(_around(data.plain[i], half[i]))
          for i in range(len(lengths))
      ],
  }


def _around(centre: float, half: float) -> tuple[float, float]:
  """An interval of a quantity that is never negative."""
  return max(float(centre - half), 0.0), float(centre + half)


def rounded(value: float | None, decimals: int | None = None) -> float | None:
  """A float that prints the same wherever the last bits fell.

  Args:
    value: a number or None.
    decimals: decimals to keep; `DIGITS` significant digits if None.

  Returns:
    The rounded number; None where there is none.
  """
  if value is None or not math.isfinite(value):
    return None
  if decimals is None:
    return float(f"{value:.{DIGITS}g}")
  return round(float(value), decimals) + 0.0


def _pair(
    pair: tuple[float, float] | None, decimals: int | None = None
) -> list[float | None] | None:
  """An interval as a list."""
  return None if pair is None else [rounded(end, decimals) for end in pair]


def crossover(one: Curve, other: Curve, name: str) -> dict[str, Any] | None:
  """One object of crossovers.json.

  The curve that is cheaper at the top is `b`, so `b` pays above `length`;
  with several crossings `length` is the last.

  Args:
    one: a curve.
    other: another of the same setting and pass.
    name: a key of `READINGS`.

  Returns:
    The object; None where a curve lacks the quantity.
  """
  tables = [reading.table(curve, name) for curve in (one, other)]
  if not all(lengths for lengths, _, _ in tables):
    return None
  lengths, first, second = _common(*tables)
  found = crossovers.compare(lengths, first, second)
  a, b = (other, one) if found.cheaper == 0 else (one, other)
  crossings = [
      {"length": rounded(c.length), "length_ci": _pair(c.interval)}
      for c in found.crossings
  ]
  last = crossings[-1] if crossings else {"length": None, "length_ci": None}
  return one.setting | {
      "a": a.name,
      "b": b.name,
      "pass": one.pass_,
      "quantity": name,
      **last,
      "crossings": crossings,
      "reason": found.reason,
      "lengths": [int(length) for length in found.lengths],
  }


def _common(
    one: tuple[list[int], list[int], np.ndarray],
    other: tuple[list[int], list[int], np.ndarray],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lengths and values of two tables where both have length and worker."""
  lengths = sorted(set(one[0]) & set(other[0]))
  replicates = sorted(set(one[1]) & set(other[1]))
  values = []
  for found, workers, data in (one, other):
    rows = [workers.index(replicate) for replicate in replicates]
    columns = [found.index(length) for length in lengths]
    values.append(data[np.ix_(rows, columns)])
  return np.array(lengths, float), values[0], values[1]


def derive(
    records: Iterable[Mapping],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
  """Laws and crossovers of a store.

  Args:
    records: records of any status, machine and order.

  Returns:
    The objects of fits.json and of crossovers.json; equal records give equal
    objects, whatever their order.
  """
  found = reading.curves(records)
  fitted = [law(curve, name) for curve in found for name in READINGS]
  crossed = [
      crossover(one, other, name)
      for one, other in itertools.combinations(found, 2)
      if _comparable(one, other)
      for name in COMPARED
  ]
  return (
      [item for item in fitted if item is not None],
      [item for item in crossed if item is not None],
  )


def _comparable(one: Curve, other: Curve) -> bool:
  """Whether two curves do the same work by different kernels."""
  same = (one.setting, one.pass_) == (other.setting, other.pass_)
  return same and one.name != other.name
