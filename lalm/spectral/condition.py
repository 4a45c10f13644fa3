"""How far a matrix magnifies errors: its condition, exact and estimated.

    kappa_2(A) = s_1 / s_N                                                  (1)
    kappa_1(A) = |A|_1 |A^-1|_1                                             (2)

(1) is also had from products with A^T A and its inverse, by Lanczos; (2) from
solves, by the block algorithm of Higham and Tisseur 2000 (SIAM J. Matrix Anal.
Appl. 21(4)), which is SciPy's. A singular matrix has a condition of infinity.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import linalg
from scipy.sparse import linalg as iterative

from lalm.spectral import checks
from lalm.spectral import lanczos
from lalm.spectral import singular


class Estimate(NamedTuple):
  """(1) by products.

  Attributes:
    value: kappa_2, a lower bound but for rounding; infinity, not converged, of
      a matrix whose inverse has no finite products.
    largest: s_1.
    smallest: s_N.
    residual: of both Ritz pairs, relative to their values.
    iterations: products with A^T A and with its inverse, together.
    converged: whether both residuals are at most the tolerance.
  """

  value: jax.Array
  largest: jax.Array
  smallest: jax.Array
  residual: jax.Array
  iterations: int
  converged: jax.Array


def exact(matrix: jax.Array) -> jax.Array:
  """Returns (1) of matrices by all singular values, infinity where one is 0.

  Args:
    matrix: `[..., M, N]`.

  Raises:
    ValueError: as of `checks.matrices`.
  """
  return of_values(singular.values(matrix))


def of_values(values: Any) -> Any:
  """Returns (1) from singular values `[..., N]`, in any order."""
  values = checks.array("values", values, least=1)
  xp = jnp if isinstance(values, jax.Array) else np
  smallest = xp.min(values, axis=-1)
  quotient = xp.max(values, axis=-1) / xp.where(smallest > 0, smallest, 1)
  return xp.where(smallest > 0, quotient, xp.inf)[()]


def by_products(
    gram: Any,
    inverse: Any,
    key: jax.Array,
    size: int,
    products: int = 30,
    *,
    tolerance: float = 0.05,
) -> Estimate:
  """Returns (1) of a matrix that is known by its products.

  Args:
    gram: X -> A^T A X, from `[N, b]`, as of `linear_operators.products`.
    inverse: X -> (A^T A)^-1 X, such as a solver gives.
    key: a `jax.random.key`, for where Lanczos starts.
    size: N.
    products: of both together, 2 or more.
    tolerance: of `Estimate.converged`.

  Raises:
    ValueError: a number below 2, or a half of it above N.
  """
  half = checks.count("products", products, 2 * size) // 2
  if not half:
    raise ValueError(f"products: expected 2 or more, got {products}")
  start = jax.random.normal(key, (size, 1))
  top = lanczos.largest(gram, start, half)
  bottom = lanczos.largest(inverse, start, half)
  largest = jnp.sqrt(top.values[0])
  # Of a singular matrix the inverse has no finite products.
  inverted = bottom.values[0]
  there = jnp.isfinite(inverted) & (inverted > 0)
  smallest = jnp.where(there, 1 / jnp.sqrt(jnp.where(there, inverted, 1)), 0)
  quotient = largest / jnp.where(there, smallest, 1)
  residual = jnp.stack(
      [pair.residual[0] / pair.values[0] for pair in (top, bottom)]
  )
  return Estimate(
      jnp.where(there, quotient, jnp.inf),
      largest,
      smallest,
      residual,
      2 * half,
      jnp.all(residual <= tolerance),
  )


def one_norm(matrix: Any) -> float:
  """Returns an estimate of (2), hardly ever below a third of it.

  Args:
    matrix: `[N, N]`.

  Raises:
    ValueError: as of `checks.matrices`, square and one.
  """
  matrix = np.asarray(checks.matrices("matrix", matrix, square=True))
  if matrix.ndim != 2:
    raise ValueError(f"matrix: expected [N, N], got {matrix.shape}")
  matrix = matrix.astype(np.float64)
  with np.errstate(all="ignore"):
    factors, pivots, failed = linalg.lapack.dgetrf(matrix)
  if failed:
    return float("inf")
  solve = lambda b, turned: linalg.lu_solve((factors, pivots), b, turned)
  operator = iterative.LinearOperator(
      matrix.shape,
      matvec=lambda b: solve(b, 0),
      rmatvec=lambda b: solve(b, 1),
      dtype=np.float64,
  )
  return float(linalg.norm(matrix, 1) * iterative.onenormest(operator))
