"""How alike subspaces and representations are.

    angles   cos(theta_i) = s_i(Q_X^T Q_Y), Q of QR                         (1)
    CKA      HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y))                       (2)

(1) Bjorck and Golub 1973, Math. Comp. 27, with sines where angles are small;
(2) Kornblith et al. 2019 (arXiv 1905.00414, equations 1 to 4), its linear
kernel X X^T never made: HSIC is a sum over D x D. The debiased one is of Song
et al. 2012 (JMLR 13, equation 5), which may be averaged over batches (Nguyen et
al. 2021, arXiv 2010.15327, equation 4): that is 0 on average for what is
unrelated, where (2) is not.
"""

import functools

import jax
import jax.numpy as jnp

from lalm.linear_operators.products import matmul
from lalm.spectral import checks


def angles(x: jax.Array, y: jax.Array) -> jax.Array:
  """Returns principal angles of two column spaces, radians, smallest first.

  Args:
    x: `[..., N, a]`, of full column rank.
    y: `[..., N, b]`, of full column rank.

  Returns:
    `[..., min(a, b)]`.

  Raises:
    ValueError: as of `checks.matrices`, other heights, or more columns than
      rows.
  """
  x = jnp.asarray(checks.matrices("x", x))
  y = jnp.asarray(checks.matrices("y", y))
  for name, z in (("x", x), ("y", y)):
    if z.shape[-1] > z.shape[-2] or z.shape[-2] != x.shape[-2]:
      raise ValueError(
          f"{name}: expected [..., {x.shape[-2]}, at most so many], got"
          f" {z.shape}"
      )
  if x.shape[-1] < y.shape[-1]:
    x, y = y, x
  return _angles(x, y)


@jax.jit
def _angles(x: jax.Array, y: jax.Array) -> jax.Array:
  x, y = jnp.linalg.qr(x)[0], jnp.linalg.qr(y)[0]
  inner = matmul(x.mT, y)
  cosines = jnp.linalg.svd(inner, compute_uv=False)
  outside = y - matmul(x, inner)
  sines = jnp.linalg.svd(outside, compute_uv=False)[..., ::-1]
  cosines, sines = jnp.clip(cosines, 0, 1), jnp.clip(sines, 0, 1)
  # A cosine near 1 tells an angle to sqrt(eps) only, a sine near 1 likewise.
  return jnp.where(cosines > sines, jnp.arcsin(sines), jnp.arccos(cosines))


def cka(x: jax.Array, y: jax.Array, *, debiased: bool = True) -> jax.Array:
  """Returns (2) of all pairs, `[..., L, M]`.

  Args:
    x: `[L, N, D]`, or `[L, batches, N, D]`, whose HSIC is averaged.
    y: `[M, N, E]`, or with batches, as x.
    debiased: whether HSIC is that of Song et al.

  Returns:
    `[L, M]`; 0 where a representation does not vary.

  Raises:
    ValueError: as of `checks.array`; other N or batches; fewer than 4 of N for
      the debiased one, 2 else.
  """
  x = jnp.asarray(checks.array("x", x, least=2))
  y = jnp.asarray(checks.array("y", y, least=2))
  for name, z in (("x", x), ("y", y)):
    if z.ndim not in (3, 4) or z.shape[1:-1] != x.shape[1:-1]:
      raise ValueError(
          f"{name}: expected [L, N, D] or [L, batches, N, D] alike, got"
          f" {z.shape}"
      )
  least = 4 if debiased else 2
  if x.shape[-2] < least:
    raise ValueError(f"x: expected N of {least} or more, got {x.shape[-2]}")
  batched = (z[:, None] if z.ndim == 3 else z for z in (x, y))
  return _cka(*batched, debiased)


@functools.partial(jax.jit, static_argnames="debiased")
def _cka(x: jax.Array, y: jax.Array, debiased: bool) -> jax.Array:
  hsic = _unbiased if debiased else _biased
  # Centred, the sums that are taken from each other are small.
  x, y = (z - z.mean(axis=-2, keepdims=True) for z in (x, y))
  # Over the greatest entry first, or squares would overflow, or vanish.
  x, y = (
      _unit(z, jnp.max(jnp.abs(z), axis=(1, 2, 3), keepdims=True))
      for z in (x, y)
  )
  x, y = (_unit(z, _size(z)) for z in (x, y))
  mean = lambda a, b: jnp.mean(jax.vmap(hsic)(a, b))
  across = jax.lax.map(lambda a: jax.lax.map(lambda b: mean(a, b), y), x)
  own = [jax.lax.map(lambda a: mean(a, a), z) for z in (x, y)]
  scale = jnp.sqrt(jnp.maximum(own[0][:, None] * own[1], 0))
  return jnp.where(scale > 0, across / jnp.where(scale > 0, scale, 1), 0)


def _unit(x: jax.Array, size: jax.Array) -> jax.Array:
  return x / jnp.where(size > 0, size, 1)


def _size(x: jax.Array) -> jax.Array:
  """Of each representation, all its batches together."""
  return jnp.sqrt(jnp.sum(x * x, axis=(1, 2, 3), keepdims=True))


def _biased(x: jax.Array, y: jax.Array) -> jax.Array:
  return jnp.sum(matmul(x.T, y) ** 2) / (x.shape[0] - 1) ** 2


def _unbiased(x: jax.Array, y: jax.Array) -> jax.Array:
  """Sums over K and L without their diagonals, from X and Y alone."""
  n = x.shape[0]
  own = [jnp.sum(z * z, axis=-1) for z in (x, y)]  # the diagonals
  rows = [
      matmul(z, jnp.sum(z, axis=0)) - diagonal
      for z, diagonal in zip((x, y), own, strict=True)
  ]
  products = jnp.sum(matmul(x.T, y) ** 2) - jnp.sum(own[0] * own[1])
  sums = jnp.sum(rows[0]) * jnp.sum(rows[1]) / ((n - 1) * (n - 2))
  cross = 2 / (n - 2) * jnp.sum(rows[0] * rows[1])
  return (products + sums - cross) / (n * (n - 3))
