"""Quadratic forms x^T M y: symmetry, definiteness, inertia.

    M = S + A,  S = (M + M^T) / 2,  A = (M - M^T) / 2                       (1)

x^T M x sees S alone. The nearest positive semidefinite matrix to M, in the
Frobenius norm, is S without its negative eigenvalues (Higham 1988, Linear
Algebra Appl. 103, theorem 2.1). All are batched over leading axes.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lalm.linear_operators.products import matmul
from lalm.spectral import checks


class Parts(NamedTuple):
  """(1), `[..., N, N]` each."""

  symmetric: jax.Array
  antisymmetric: jax.Array


class Inertia(NamedTuple):
  """How many eigenvalues are positive, zero and negative."""

  positive: jax.Array
  zero: jax.Array
  negative: jax.Array


def split(matrix: jax.Array) -> Parts:
  """Returns (1).

  Args:
    matrix: M, `[..., N, N]`.

  Raises:
    ValueError: as of `checks.matrices`, square.
  """
  matrix = jnp.asarray(checks.matrices("matrix", matrix, square=True))
  # Halves first: the sum of two great numbers would overflow.
  half, back = matrix / 2, matrix.mT / 2
  return Parts(half + back, half - back)


def symmetry(matrix: jax.Array) -> jax.Array:
  """Returns (|S|^2 - |A|^2) / |M|^2: 1 is symmetric, -1 antisymmetric.

  It is 0 of a matrix of zeros, and on average of a random one.

  Args:
    matrix: as of `split`.
  """
  matrix = jnp.asarray(checks.matrices("matrix", matrix, square=True))
  each = split(checks.scaled(matrix)[0])
  a, b = (jnp.sum(x * x, axis=(-2, -1)) for x in each)
  return (a - b) / jnp.where(a + b > 0, a + b, 1)


def inertia(matrix: jax.Array, tolerance: float | None = None) -> Inertia:
  """Returns how many eigenvalues of S have which sign.

  Args:
    matrix: as of `split`.
    tolerance: share of the largest absolute value below which one is zero; N
      eps if None.

  Raises:
    ValueError: as of `split`, or a tolerance outside [0, 1).
  """
  values = jnp.linalg.eigvalsh(split(matrix).symmetric)
  return of_values(values, tolerance)


def of_values(values: jax.Array, tolerance: float | None = None) -> Inertia:
  """Returns inertia from eigenvalues `[..., N]`; arguments as of `inertia`."""
  if tolerance is None:
    tolerance = values.shape[-1] * float(jnp.finfo(values.dtype).eps)
  if not 0 <= tolerance < 1:
    raise ValueError(f"tolerance: expected 0 <= tolerance < 1, got {tolerance}")
  least = tolerance * jnp.max(jnp.abs(values), axis=-1, keepdims=True)
  positive = jnp.sum(values > least, axis=-1)
  negative = jnp.sum(values < -least, axis=-1)
  return Inertia(positive, values.shape[-1] - positive - negative, negative)


def semidefinite(
    matrix: jax.Array, tolerance: float | None = None
) -> jax.Array:
  """Returns whether x^T M x >= 0 for all x; arguments as of `inertia`."""
  return inertia(matrix, tolerance).negative == 0


def nearest_semidefinite(matrix: jax.Array) -> jax.Array:
  """Returns the nearest positive semidefinite matrix.

  It is differentiable where the eigenvalues of S differ.

  Args:
    matrix: as of `split`.
  """
  values, vectors = jnp.linalg.eigh(split(matrix).symmetric)
  scaled = vectors * jnp.maximum(values, 0)[..., None, :]
  return matmul(scaled, vectors.mT)
