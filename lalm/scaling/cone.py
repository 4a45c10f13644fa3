"""Non-negative least squares on one leading term and what lies below it.

With t = n / n_max and a leading term g(n), scaled to g(n_max) = 1, a law is

    y(n) / y-unit = a + b t + c g(n),   a, b, c >= 0,   b <= c.           (1)

b <= c says what *leading* means: at the largest length the leading term
makes at least half of what grows.  Without it every linear law would also be
a quadratic one with a minute n^2.  Writing b t + c g as (c - b) g + b (g + t)
turns (1) into plain non-negativity over three columns,

    1,   g,   g + t,                                                      (2)

so a fit is the best of the few subsets of (2) whose plain least-squares
coefficients are all non-negative.  Subsets are solved for a whole grid of
leading terms and for all bootstrap samples at once.

Reference: Lawson and Hanson, Solving Least Squares Problems, 1974, ch. 23.
"""

from typing import NamedTuple

import numpy as np

# Subsets of the columns in (2) that contain the leading term.
SUBSETS = ((1,), (0, 1), (2,), (0, 2), (1, 2), (0, 1, 2))
# Subsets beside n log n: c n log n + b n is n log n with n in another unit.
NO_LINEAR = ((1,), (0, 1))
PURE = ((1,),)
# Without overhead the first column holds the leading term too.
NO_OVERHEAD = SUBSETS + ((0,),)
# Below this exponent a power cannot be told from an offset beside it.
SMALLEST = 0.05
# Up to this exponent a linear term beside a power is part of the power: half
# of each has the local slopes of a single power between them.
STEEPEST = 1.25
# Gram matrices of unit columns with a smaller determinant are left to subsets.
SINGULAR = 1e-10


class Problem(NamedTuple):
  """Where a law is fitted.

  Attributes:
    t: abscissa over its largest value, [lengths].
    logarithm: log of the abscissa, [lengths].
    scale: unit of the residuals, [lengths].
    overhead: whether the offset may exceed the leading term at the largest
      length; if not, a leading term is half of the whole, not of the growth.
  """

  t: np.ndarray
  logarithm: np.ndarray
  scale: np.ndarray
  overhead: bool


def subsets(problem: Problem) -> tuple[tuple[int, ...], ...]:
  """The subsets of (2) that are laws of a problem."""
  return SUBSETS if problem.overhead else NO_OVERHEAD


def power(problem: Problem, exponents: np.ndarray) -> np.ndarray:
  """Leading terms t^exponent, [exponents, lengths]."""
  return problem.t ** np.asarray(exponents, float)[:, None]


def log_linear(problem: Problem) -> np.ndarray:
  """The leading term n log n over its largest value, [1, lengths]."""
  term = problem.t * problem.logarithm
  return (term / term[-1])[None]


def effective_exponent(problem: Problem, term: np.ndarray) -> float:
  """Least-squares slope of log(term) against log(n): k for n^k."""
  return float(np.polyfit(problem.logarithm, np.log(term), 1)[0])


def columns(problem: Problem, leading: np.ndarray) -> np.ndarray:
  """The columns (2) for each leading term, [terms, lengths, 3]."""
  one = np.ones_like(leading) if problem.overhead else 1 + leading
  return np.stack([one, leading, leading + problem.t], axis=-1)


def allowed(exponents: np.ndarray, subset: tuple[int, ...]) -> np.ndarray:
  """Leading terms for which a subset is a law, [exponents] of bool."""
  exponents = np.asarray(exponents, float)
  good = np.ones(exponents.shape, bool)
  if 0 in subset:
    good &= exponents >= SMALLEST
  if 2 in subset:
    good &= exponents >= STEEPEST
  return good


def solve(
    problem: Problem,
    leading: np.ndarray,
    subset: tuple[int, ...],
    targets: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
  """Least squares on a subset of the columns.

  Args:
    problem: abscissa and unit.
    leading: leading terms, [terms, lengths].
    subset: which columns of (2).
    targets: values to fit, [lengths, targets].

  Returns:
    squares [terms, targets], infinite where a coefficient is negative, and
    the coefficients [terms, subset, targets].
  """
  design = columns(problem, leading)[:, :, list(subset)]
  design = design / problem.scale[:, None]
  goal = targets / problem.scale[:, None]
  norm = np.sqrt((design**2).sum(axis=1, keepdims=True))
  design = design / norm
  gram = np.swapaxes(design, 1, 2) @ design
  sound = np.linalg.det(gram) > SINGULAR
  gram = np.where(sound[:, None, None], gram, np.eye(len(subset)))
  weights = np.linalg.solve(gram, np.swapaxes(design, 1, 2) @ goal)
  squares = ((goal - design @ weights) ** 2).sum(axis=1)
  good = (weights >= 0).all(axis=1) & sound[:, None]
  return np.where(good, squares, np.inf), weights / np.swapaxes(norm, 1, 2)


def profile(
    problem: Problem,
    exponents: np.ndarray,
    targets: np.ndarray,
    among: tuple[tuple[int, ...], ...] = SUBSETS,
) -> np.ndarray:
  """Smallest squares of (1) for each exponent of the leading power.

  Args:
    problem: abscissa and unit.
    exponents: [exponents].
    targets: values to fit, [lengths, targets].
    among: which subsets of (2) count as laws.

  Returns:
    Sums of squared residuals, [exponents, targets].
  """
  best = np.full((len(exponents), targets.shape[1]), np.inf)
  for subset in among:
    good = allowed(exponents, subset)
    if good.any():
      squares, _ = solve(
          problem, power(problem, exponents[good]), subset, targets
      )
      best[good] = np.minimum(best[good], squares)
  return best
