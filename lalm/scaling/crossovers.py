"""Where one curve comes to lie below another.

The log ratio of the two quantities is taken worker by worker, so what slows a
whole worker cancels, and its median over workers is interpolated between the
measured lengths (PCHIP in log n: no fitted law is trusted here).  Around it
lies a band, the intervals of the medians.  A length is *resolved* where the
band leaves out zero.  A crossing lies between two neighbouring resolved
stretches of opposite sign; its interval is the stretch between them, all
lengths at which the data do not tell the curves apart (Fieller's argument).
A change of sign that is not resolved on both sides is noise or lies at the
edge of the range, and is not called a crossing.

Reference: Fieller, Some problems in interval estimation, 1954.
"""

import dataclasses

import numpy as np
from scipy import interpolate

from lalm.scaling import intervals

# Points per stretch between neighbouring lengths on which signs are read.
FINE = 256
# Log ratios of exact values below this are equality.
EQUAL = 1e-12


@dataclasses.dataclass(frozen=True)
class Crossing:
  """A length at which two curves change places.

  Attributes:
    length: where the log ratio is zero.
    interval: (low, high); None where there is no noise to judge by.
    cheaper: which of the two, 0 or 1, is the smaller above it.
  """

  length: float
  interval: tuple[float, float] | None
  cheaper: int


@dataclasses.dataclass(frozen=True)
class Comparison:
  """Two curves over the lengths that both have.

  Attributes:
    lengths: lengths compared, [lengths].
    ratio: median over workers of first / second, [lengths].
    crossings: resolved crossings, increasing in length.
    cheaper: the smaller one at the largest length resolved; None where the
      curves are nowhere told apart.
    reason: why there is no crossing or more than one, else "".
  """

  lengths: np.ndarray
  ratio: np.ndarray
  crossings: list[Crossing]
  cheaper: int | None
  reason: str


def compare(
    lengths: np.ndarray, first: np.ndarray, second: np.ndarray
) -> Comparison:
  """Finds where two curves cross.

  Args:
    lengths: [lengths], increasing.
    first: values of the first curve, [workers, lengths], NaN where missing.
    second: of the second, by the same workers in the same order.

  Returns:
    The comparison over the lengths at which some worker has both.

  Raises:
    ValueError: the two tables differ in shape or do not match the lengths.
  """
  lengths = np.asarray(lengths, float)
  first, second = np.asarray(first, float), np.asarray(second, float)
  if first.shape != second.shape or first.shape[-1:] != lengths.shape:
    raise ValueError(
        f"second: expected shape {first.shape} with {len(lengths)} lengths,"
        f" got {second.shape}"
    )
  good = (first > 0) & (second > 0)
  ratio = np.where(good, first, np.nan) / np.where(good, second, np.nan)
  rows, keep = good.any(axis=1), good.any(axis=0)
  lengths, ratio = lengths[keep], ratio[rows][:, keep]
  if len(lengths) < 2:
    nothing: list[Crossing] = []
    centre = np.full(len(lengths), np.nan)
    return Comparison(lengths, centre, nothing, None, "fewer than two lengths")
  data = intervals.sample(ratio, exact=True)
  half = intervals.band(data)
  crossings, signs = _resolve(np.log(lengths), data, half)
  reason = "one worker: no noise to judge by" if half is None else ""
  return _worded(lengths, data.plain, crossings, signs, reason)


def _worded(
    lengths: np.ndarray,
    ratio: np.ndarray,
    crossings: list[Crossing],
    signs: np.ndarray,
    reason: str,
) -> Comparison:
  """Adds who is cheaper at the top and why there is not one crossing."""
  cheaper = None if len(signs) == 0 else int(signs[-1] > 0)
  if len(signs) == 0:
    reason = "not told apart at any length"
  elif not crossings:
    reason = "one lies below the other wherever they are told apart"
  elif len(crossings) > 1:
    reason = f"they cross {len(crossings)} times"
  return Comparison(lengths, ratio, crossings, cheaper, reason)


def _resolve(
    logs: np.ndarray, data: intervals.Sample, half: np.ndarray | None
) -> tuple[list[Crossing], np.ndarray]:
  """Crossings and the signs of the resolved points of a fine grid."""
  middle = np.log(data.plain)
  fine = np.unique(
      np.concatenate(
          [np.linspace(a, b, FINE) for a, b in zip(logs[:-1], logs[1:])]
      )
  )
  centre = interpolate.PchipInterpolator(logs, middle)(fine)
  relative = np.zeros(len(logs)) if half is None else half / data.plain
  width = np.maximum(np.interp(fine, logs, relative), EQUAL)
  told = np.flatnonzero(np.abs(centre) > width)
  signs = np.sign(centre[told])
  crossings = []
  for i in np.flatnonzero(signs[1:] != signs[:-1]):
    inside = slice(told[i], told[i + 1] + 1)
    ends = _ends(fine[inside], centre[inside], width[inside])
    interval = None if half is None else (ends[0], ends[2])
    crossings.append(Crossing(ends[1], interval, int(signs[i + 1] > 0)))
  return crossings, signs


def _ends(
    logs: np.ndarray, centre: np.ndarray, width: np.ndarray
) -> tuple[float, float, float]:
  """Lengths where the band takes in zero, the ratio is one, the band leaves.

  Between the ends the ratio may be one several times; the middle one counts.
  """
  sign = np.sign(centre[0])

  def root(values: np.ndarray, which: int) -> float:
    change = np.flatnonzero(np.sign(values[1:]) != np.sign(values[:-1]))
    i = change[which]
    share = values[i] / (values[i] - values[i + 1])
    return float(np.exp(logs[i] + share * (logs[i + 1] - logs[i])))

  changes = (np.sign(centre[1:]) != np.sign(centre[:-1])).sum()
  return (
      root(sign * centre - width, 0),
      root(centre, int(changes) // 2),
      root(-sign * centre - width, -1),
  )
