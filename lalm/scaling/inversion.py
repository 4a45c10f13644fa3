"""The interval of an exponent: every exponent that the data do not refuse.

An exponent is kept when the best law (1) of `cone` with that exponent leaves
squares within a critical rise of the best law of all (inversion of a
likelihood-ratio test).  The rise at 95 % is the largest of

* the pooled variance of the centre times the squared t quantile,
* the 95 % point of the same rise when whole workers are drawn again,
* the same as the first with the misfit of the best law for variance, where
  that misfit is more than the workers' noise explains: what all workers share
  (a cache that ends) is invisible in the spread between them.

Reference: Davison, Statistical Models, 2003, section 4.5.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

from lalm.scaling import cone, fits, intervals

OUTER = 0.99
COARSE = fits.GRID[::2]
# How sure one must be of a misfit before it counts.
SIGNIFICANT = 0.95
# Student quantiles need a number; this many degrees of freedom is normal.
MANY = 1e6


class Family(NamedTuple):
  """Laws among which an exponent is sought.

  Attributes:
    problem: abscissa and unit.
    subsets: which terms may be in use.
    target: values, [lengths, 1].
    choices: the best law of each subset.
    chosen: the one of the largest Akaike weight.
    exponent: mean over the laws by their Akaike weights.
  """

  problem: cone.Problem
  subsets: tuple[tuple[int, ...], ...]
  target: np.ndarray
  choices: list[fits.Choice]
  chosen: fits.Choice
  exponent: float


def family(
    problem: cone.Problem,
    values: np.ndarray,
    variance: float | None,
    subsets: tuple[tuple[int, ...], ...],
) -> Family:
  """Fits every law of a family and weighs them.

  Args:
    problem: abscissa and unit.
    values: [lengths].
    variance: of a point of the centre; None when unknown.
    subsets: which terms may be in use.

  Returns:
    The family.
  """
  target = np.asarray(values, float)[:, None]
  choices = fits.candidates(problem, target, subsets)
  weights = fits.weigh(choices, len(values), variance)
  exponent = float(weights @ [choice.exponent for choice in choices])
  chosen = choices[int(weights.argmax())]
  return Family(problem, subsets, target, choices, chosen, exponent)


def misfit(laws: Family, data: intervals.Sample) -> tuple[float, float] | None:
  """Squares left over per degree of freedom, where noise is no excuse.

  Args:
    laws: the fitted family.
    data: the sample, with a variance.

  Returns:
    (variance, degrees of freedom) of the misfit, or None.
  """
  freedom = len(laws.target) - laws.chosen.parameters
  if freedom < 1 or data.variance is None:
    return None
  left = laws.chosen.squares / freedom
  limit = stats.f.ppf(SIGNIFICANT, freedom, min(data.freedom, MANY))
  return (left, freedom) if left > limit * data.variance else None


def _drawn_rise(laws: Family, data: intervals.Sample) -> float:
  """The 95 % point of the rise over samples of whole workers."""
  drawn = data.resamples
  if drawn is None or not data.variance or data.variance <= intervals.EXACT:
    return 0.0
  targets = drawn.shape.T
  leading = laws.chosen.leading[None]
  here = np.array([laws.chosen.exponent])
  forced = np.min(
      [
          cone.solve(laws.problem, leading, subset, targets)[0][0]
          for subset in laws.subsets
          if cone.allowed(here, subset)[0]
      ],
      axis=0,
  )
  lowest = cone.profile(laws.problem, COARSE, targets, laws.subsets)
  rise = np.maximum(forced - lowest.min(axis=0), 0)
  return intervals.quantile(rise, drawn.weight, intervals.LEVEL)


def critical(laws: Family, data: intervals.Sample) -> tuple[float, float]:
  """Critical rise of the squares at 95 % and at 99 %.

  Args:
    laws: the fitted family.
    data: the sample, with a variance.

  Returns:
    The two rises; the second is never the smaller.
  """
  if data.variance is None:
    raise ValueError("data: expected a sample with a variance, got none")
  noises = [(max(data.variance, intervals.EXACT), min(data.freedom, MANY))]
  left = misfit(laws, data)
  if left is not None:
    noises.append(left)
  inner, outer = (
      max(v * intervals.student(freedom, level) ** 2 for v, freedom in noises)
      for level in (intervals.LEVEL, OUTER)
  )
  final = max(inner, _drawn_rise(laws, data))
  return final, final * outer / inner


def _edge(laws: Family, inside: float, outside: float, limit: float) -> float:
  """Where the profile passes `limit` between two exponents."""
  for _ in range(fits.ROUNDS):
    trial = np.linspace(inside, outside, fits.ZOOM)
    squares = cone.profile(laws.problem, trial, laws.target, laws.subsets)
    refused = np.flatnonzero(squares[:, 0] > limit)
    if len(refused) == 0:
      return float(outside)
    if refused[0] == 0:
      return float(inside)
    inside, outside = trial[refused[0] - 1], trial[refused[0]]
  return float(inside)


def invert(laws: Family, rise: float) -> tuple[float, float]:
  """Hull of the exponents within `rise` of the best law.

  Args:
    laws: the fitted family.
    rise: critical rise of the squares.

  Returns:
    (low, high); both ends lie within the grid of exponents.
  """
  limit = min(choice.squares for choice in laws.choices) + rise
  kept = [c.exponent for c in laws.choices if c.squares <= limit]
  kept.append(laws.exponent)
  squares = cone.profile(laws.problem, fits.GRID, laws.target, laws.subsets)
  kept.extend(fits.GRID[squares[:, 0] <= limit])
  low, high = float(min(kept)), float(max(kept))
  return (
      _edge(laws, low, max(low - fits.STEP, fits.GRID[0]), limit),
      _edge(laws, high, min(high + fits.STEP, fits.GRID[-1]), limit),
  )
