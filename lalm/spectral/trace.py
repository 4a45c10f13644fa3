"""Traces from products alone, m of them.

    Hutchinson    mean of w^T A w                                           (1)
    Hutch++       tr(Q^T A Q) + (1) of (I - Q Q^T) A (I - Q Q^T)            (2)
    XTrace        mean over i of (2) with Q of all probes but w_i, and w_i  (3)
    XNysTrace     the same with Nystrom's approximation Y (W^T Y)^-1 Y^T,
                  of a matrix that is positive semidefinite                 (4)

(1) Hutchinson 1990; (2) Meyer, Musco, Musco and Woodruff 2020 (arXiv
2010.09649, algorithm 1); (3), (4) Epperly, Tropp and Webber 2023 (arXiv
2301.07825, sections 2 and 3), with probes scaled to the length that leaving out
Q gives a vector on the sphere (section 2.3 there). (2) to (4) find a trace of
few eigenvalues exactly; (1) errs as m^-1/2 whatever the matrix.
"""

from typing import Any

import jax
import jax.numpy as jnp

from lalm.linear_operators.products import matmul
from lalm.spectral import checks
from lalm.spectral.quadrature import Estimate


def hutchinson(
    operator: Any, key: jax.Array, size: int, products: int
) -> Estimate:
  """Returns (1).

  Args:
    operator: from `[N, b]` to `[N, b]`, as of `linear_operators.products`.
    key: a `jax.random.key`.
    size: N.
    products: m.

  Raises:
    ValueError: a number below 1.
  """
  products = checks.count("products", products, 2**31)
  probes = jax.random.rademacher(key, (size, products), jnp.float32)
  return _mean(jnp.sum(probes * operator(probes), axis=0))


def hutch_plus_plus(
    operator: Any, key: jax.Array, size: int, products: int
) -> Estimate:
  """Returns (2); the error is of its random part.

  Args:
    operator: as of `hutchinson`, as are the arguments after it.
    key: a `jax.random.key`.
    size: N.
    products: m, 3 or more.

  Raises:
    ValueError: a number below 3, or a third of it above N.
  """
  third = checks.count("products", products, 3 * size) // 3
  if not third:
    raise ValueError(f"products: expected 3 or more, got {products}")
  draw = lambda key, count: jax.random.rademacher(
      key, (size, count), jnp.float32
  )
  sketch, rest = jax.random.split(key)
  basis, _ = jnp.linalg.qr(operator(draw(sketch, third)))
  probes = draw(rest, products - 2 * third)
  probes = probes - matmul(basis, matmul(basis.T, probes))
  found = _mean(jnp.sum(probes * operator(probes), axis=0))
  known = jnp.sum(basis * operator(basis))
  return Estimate(known + found.value, found.error)


def xtrace(operator: Any, key: jax.Array, size: int, products: int) -> Estimate:
  """Returns (3).

  Args:
    operator: as of `hutchinson`, as are the arguments after it.
    key: a `jax.random.key`.
    size: N.
    products: m, 4 or more; an odd one is not used.

  Raises:
    ValueError: a number below 4, or a half of it above N.
  """
  half = checks.count("products", products, 2 * size) // 2
  if half < 2:
    raise ValueError(f"products: expected 4 or more, got {products}")
  probes = _sphere(key, size, half)
  image, size_of = checks.scaled(operator(probes))
  basis, triangle = jnp.linalg.qr(image)
  back = operator(basis) / size_of
  triangle = _regular(triangle)
  # Q without probe i is Q (I - s s^T), s orthogonal to other columns of R.
  s = jax.scipy.linalg.solve_triangular(
      triangle, jnp.eye(half, dtype=image.dtype), lower=False
  ).T
  s = s / jnp.linalg.norm(s, axis=0)
  small = matmul(basis.T, back)
  shares = matmul(basis.T, probes)
  shares = shares - s * jnp.sum(s * shares, axis=0)
  known = jnp.trace(small) - jnp.sum(s * matmul(small, s), axis=0)
  left = (
      jnp.sum(probes * image, axis=0)
      - jnp.sum(matmul(back.T, probes) * shares, axis=0)
      - jnp.sum(shares * triangle, axis=0)
      + jnp.sum(shares * matmul(small, shares), axis=0)
  )
  return _mean((known + _scale(size, half, shares) * left) * size_of[0])


def _regular(triangle: jax.Array) -> jax.Array:
  """R with a diagonal above rounding: of few eigenvalues it has zeros there."""
  diagonal = jnp.diagonal(triangle)
  least = jnp.finfo(triangle.dtype).eps * jnp.max(jnp.abs(diagonal))
  least = jnp.where(least > 0, least, 1)
  nothing = jnp.abs(diagonal) <= least
  return triangle + jnp.diag(jnp.where(nothing, least - diagonal, 0))


def xnystrace(
    operator: Any, key: jax.Array, size: int, products: int
) -> Estimate:
  """Returns (4).

  Args:
    operator: as of `hutchinson`, positive semidefinite.
    key: a `jax.random.key`.
    size: N.
    products: m, from 2 to N.

  Raises:
    ValueError: another number.
  """
  products = checks.count("products", products, size)
  if products < 2:
    raise ValueError(f"products: expected 2 or more, got {products}")
  probes = _sphere(key, size, products)
  image, size_of = checks.scaled(operator(probes))
  # What is added to the diagonal keeps Cholesky's root real.
  shift = jnp.finfo(image.dtype).eps * jnp.maximum(jnp.linalg.norm(image), 1)
  image = image + shift * probes
  small = matmul(probes.T, image)
  root = jnp.linalg.cholesky((small + small.T) / 2)
  eye = jnp.eye(products, dtype=image.dtype)
  inverse = jax.scipy.linalg.cho_solve((root, True), eye)
  factor = jax.scipy.linalg.solve_triangular(root, image.T, lower=True)
  diagonal = jnp.diagonal(inverse)
  gone = jnp.sum(matmul(image, inverse) ** 2, axis=0) / diagonal
  # Of the space that other probes span, a probe has all but what is left.
  basis, triangle = jnp.linalg.qr(probes)
  own = jax.scipy.linalg.solve_triangular(triangle, eye, lower=False)
  outside = 1 / jnp.sum(own**2, axis=1)
  del basis
  scale = (size - products + 1) / outside
  each = jnp.sum(factor**2) - gone + scale / diagonal - size * shift
  return _mean(each * size_of[0])


def _sphere(key: jax.Array, size: int, count: int) -> jax.Array:
  drawn = jax.random.normal(key, (size, count), jnp.float32)
  return drawn / jnp.linalg.norm(drawn, axis=0) * size**0.5


def _scale(size: int, count: int, shares: jax.Array) -> jax.Array:
  """What makes the part of a probe outside of a space as long as one there."""
  return (size - count + 1) / (size - jnp.sum(shares**2, axis=0))


def _mean(each: jax.Array) -> Estimate:
  count = each.shape[0]
  spread = jnp.std(each, ddof=1) if count > 1 else jnp.nan
  return Estimate(jnp.mean(each), spread / count**0.5)
