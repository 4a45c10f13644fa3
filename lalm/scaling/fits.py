"""Candidate laws: every leading term with every set of lower terms.

Also the four-term fit that is reported beside them, and the abscissa for
causal forms.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import optimize
from scipy import special

from lalm.scaling import cone, intervals

GRID = np.linspace(-1.0, 4.0, 501)
STEP = float(GRID[1] - GRID[0])
# Points of one refinement, and how often it is taken: 1e-2 down to 1e-10.
ZOOM, ROUNDS = 21, 8
# A term that nowhere makes this share of a value is not there.
NEGLIGIBLE_SHARE = 1e-9
# Below it n log n is not what a count grows like.
LEAST_SHARE = 0.01


class Terms(NamedTuple):
  """Coefficients of 1, n, n log n and n^2 (natural logarithm)."""

  one: float
  n: float
  n_log_n: float
  n_squared: float


class Choice(NamedTuple):
  """One fitted law of `cone`.

  Attributes:
    exponent: effective exponent of its leading term.
    subset: which columns it uses.
    leading: its leading term, 1 at the largest length, [lengths].
    squares: sum of squared residuals in units of the scale.
    parameters: how many were fitted; choosing n log n counts like choosing
      an exponent, and a law on the boundary c = b has found
      the value of b too.
    power: the exponent if the leading term is a power; None for n log n.
  """

  exponent: float
  subset: tuple[int, ...]
  leading: np.ndarray
  squares: float
  parameters: int
  power: float | None


def order(lengths: np.ndarray, counts: np.ndarray) -> int:
  """Order k of an operation count: its local slope at the top, rounded.

  Args:
    lengths: [lengths], increasing, at least two.
    counts: closed-form operations, [lengths], positive.

  Returns:
    The nearest whole number, at least 1.
  """
  slope = math.log(counts[-1] / counts[-2])
  return max(1, round(slope / math.log(lengths[-1] / lengths[-2])))


def log_linear(lengths: np.ndarray, counts: np.ndarray) -> bool:
  """Whether counts are n log n with lower terms, of either sign, exactly.

  Args:
    lengths: [lengths], increasing; fewer than five cannot tell.
    counts: closed-form operations, [lengths], positive.
  """
  n = np.asarray(lengths, float)
  if len(n) < 5 or n[0] <= 1:
    return False
  basis = np.stack([np.ones_like(n), n, n * np.log(n), n**2], axis=1)
  design = basis / counts[:, None]
  norm = np.linalg.norm(design, axis=0)
  weights = np.linalg.lstsq(design / norm, np.ones_like(n), rcond=None)[0]
  share = design / norm * weights
  exact = np.abs(share.sum(axis=1) - 1).max() < NEGLIGIBLE_SHARE
  _, _, logarithmic, square = share[-1]
  return bool(
      exact and abs(square) < NEGLIGIBLE_SHARE and logarithmic > LEAST_SHARE
  )


def equivalent_lengths(lengths: np.ndarray, counts: np.ndarray) -> np.ndarray:
  """Lengths at which n^k, or n log n, would do the counted work.

  Args:
    lengths: [lengths], increasing.
    counts: closed-form operations, [lengths], positive and increasing.

  Returns:
    n_max (count / count_max)^(1/k), [lengths], with k the order of the count;
    m of m log m = n_max log n_max count / count_max where it is n log n.

  Raises:
    ValueError: counts are not positive and increasing.
  """
  lengths, counts = np.asarray(lengths, float), np.asarray(counts, float)
  if counts.shape != lengths.shape or not (
      (counts > 0).all() and (np.diff(counts) > 0).all()
  ):
    raise ValueError(
        "counts: expected one positive, increasing count per length, got"
        f" {counts.tolist()}"
    )
  if len(lengths) < 2:
    return lengths
  share = counts / counts[-1]
  if log_linear(lengths, counts):
    work = share * lengths[-1] * math.log(lengths[-1])
    return work / special.lambertw(work).real  # m = exp(W(m log m))
  return lengths[-1] * share ** (1 / order(lengths, counts))


def fit_terms(
    abscissa: np.ndarray, values: np.ndarray, scale: np.ndarray
) -> Terms:
  """Weighted non-negative least squares on {1, n, n log n, n^2}.

  Args:
    abscissa: [lengths].
    values: [lengths].
    scale: unit of the residuals, [lengths]; the values themselves for a
      relative fit.

  Returns:
    The coefficients in the unit of the values.
  """
  n = np.asarray(abscissa, float)
  basis = np.stack([np.ones_like(n), n, n * np.log(n), n**2], axis=1)
  design = basis / scale[:, None]
  norm = np.linalg.norm(design, axis=0)
  weights, _ = optimize.nnls(design / norm, values / scale)
  weights = weights / norm
  share = (basis * weights / scale[:, None]).max(axis=0)
  kept = np.where(share > NEGLIGIBLE_SHARE, weights, 0.0)
  return Terms(*(float(weight) for weight in kept))


def _linear(subset: tuple[int, ...]) -> int:
  """Linear parameters of a law that uses these columns."""
  return len(subset) + (1 not in subset)


def refine(
    problem: cone.Problem, subset: tuple[int, ...], target: np.ndarray
) -> Choice | None:
  """The best power beside the given terms, to ten digits.

  Args:
    problem: abscissa and unit.
    subset: the columns in use.
    target: values, [lengths, 1].

  Returns:
    The law, or None when no exponent has non-negative coefficients.
  """
  grid, step = GRID[cone.allowed(GRID, subset)], STEP
  best = None
  for _ in range(ROUNDS):
    leading = cone.power(problem, grid)
    squares = cone.solve(problem, leading, subset, target)[0][:, 0]
    place = int(squares.argmin())
    if not np.isfinite(squares[place]) and best is None:
      return None
    if best is None or squares[place] < best.squares:
      exponent = float(grid[place])
      parts = float(squares[place]), 1 + _linear(subset), exponent
      best = Choice(exponent, subset, leading[place], *parts)
    grid = best.exponent + np.linspace(-step, step, ZOOM)
    grid = grid[cone.allowed(grid, subset)]
    step = step * 2 / (ZOOM - 1)
  return best


def candidates(
    problem: cone.Problem,
    target: np.ndarray,
    subsets: tuple[tuple[int, ...], ...],
) -> list[Choice]:
  """The best law of every subset, led by a power and by n log n.

  Args:
    problem: abscissa and unit.
    target: values, [lengths, 1].
    subsets: which subsets count as laws.

  Returns:
    At least one law: a pure power fits any positive values.
  """
  found = [refine(problem, subset, target) for subset in subsets]
  result = [choice for choice in found if choice is not None]
  if subsets == cone.PURE or problem.logarithm[0] <= 0:
    return result
  term = cone.log_linear(problem)
  exponent = cone.effective_exponent(problem, term[0])
  for subset in cone.NO_LINEAR:
    squares = float(cone.solve(problem, term, subset, target)[0][0, 0])
    if np.isfinite(squares):
      parts = squares, 1 + len(subset), None
      result.append(Choice(exponent, subset, term[0], *parts))
  return result


def weigh(
    choices: list[Choice], lengths: int, variance: float | None
) -> np.ndarray:
  """Akaike weights of laws.

  Args:
    choices: candidate laws.
    lengths: how many lengths were measured.
    variance: of a point of the centre; None when unknown.

  Returns:
    exp(-squares / 2 variance - parameters) over its sum, [choices], where the
    variance is at least what the closest law leaves over per degree of
    freedom; 0 for a law with more parameters than there are lengths.

  References:
    Burnham and Anderson, Model Selection and Multimodel Inference, 2002.
  """
  squares = np.array([choice.squares for choice in choices])
  count = np.array([choice.parameters for choice in choices])
  closest = int(squares.argmin())
  left = squares[closest] / max(lengths - count[closest], 1)
  unit = max(variance or 0.0, left, intervals.EXACT)
  criterion = np.where(count <= lengths, squares / unit + 2 * count, np.inf)
  weights = np.exp((criterion.min() - criterion) / 2)
  return weights / weights.sum()


def coefficients(
    problem: cone.Problem, choice: Choice, target: np.ndarray
) -> tuple[float, float, float]:
  """Offset, linear part and leading part of a law at the largest length.

  Args:
    problem: abscissa and unit.
    choice: the law.
    target: values, [lengths, 1].

  Returns:
    a, b, c of (1) in `cone`, in the unit of the values.
  """
  _, fitted = cone.solve(problem, choice.leading[None], choice.subset, target)
  weight = dict(zip(choice.subset, (float(w) for w in fitted[0, :, 0])))
  offset, linear = weight.get(0, 0.0), weight.get(2, 0.0)
  leading = weight.get(1, 0.0) + linear
  if not problem.overhead:
    leading += offset
  return offset, linear, leading
