"""Nystrom's approximation of softmax (Xiong et al. 2021, arXiv 2102.03902).

M landmarks q~ and k~ are means of M segments of queries and of keys, and

    o = sm(q k~^T) sm(q~ k~^T)^+ sm(q~ k^T) v,   sm(x) = softmax(scale x)   (1)

(equation 13 there). The pseudo-inverse of A = sm(q~ k~^T) is iterated,

    Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4,
    Z_0 = A^T / (|A|_1 |A|_inf)                                            (2)

(equation 11 there). Landmarks are of all tokens: there is no causal form, no
state, and no packed documents.

| form      | products (a head), but for (2)        | memory beyond inputs |
|-----------|---------------------------------------|----------------------|
| parallel  | 2 (T M (K + M) + M S K + T S (M + V)) | T S                  |
| blockwise | 2 M (T + S) (K + V) + 2 M^2 (K + V)   | T V + tiles + M^2    |
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import contract
from lalm.attention import masks
from lalm.attention import softmax

LANDMARKS = 64
ITERATIONS = 6


@contract.form
def parallel(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    scale: float | jax.Array | None = None,
    landmarks: int | None = None,
    iterations: int = ITERATIONS,
) -> contract.Result:
  """Returns (1) through the T x S matrix: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, S, G, V]`.
    causal: False; there is no causal form.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    landmarks: M, at most T and S; 64, or as many, if None. Segments differ by
      one token at most, the longer ones first.
    iterations: of (2).

  Returns:
    out `[B, T, H, V]` in v's dtype; its state is None.

  Raises:
    ValueError: a rank, dtype or axis the contract excludes, more landmarks than
      tokens, or causal=True.
  """
  marks = _landmarks(q, k, v, causal, scale, landmarks)
  k, v, output = _shared(k, marks.wide, q), _shared(v, marks.wide, q), v.dtype
  q = q.astype(marks.wide)
  to_marks = marks.weights(q, marks.k)
  of_marks = marks.weights(marks.q, k)
  out = marks.product("bhtm,bhmn->bhtn", to_marks, marks.inverse(iterations))
  out = marks.product("bhtm,bhms->bhts", out, of_marks)
  out = marks.product("bhts,bshv->bthv", out, v)
  return contract.Result(out.astype(output), None)


@contract.form
def blockwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    scale: float | jax.Array | None = None,
    landmarks: int | None = None,
    iterations: int = ITERATIONS,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) from the right, tile by tile: linear in T and in S.

  Arguments, result and errors as in `parallel`.

  Args:
    chunk: tokens along a side of a tile, about.
  """
  if chunk is not None:
    shapes.check_positive("chunk", chunk)
  marks = _landmarks(q, k, v, causal, scale, landmarks)
  attend = functools.partial(
      softmax.over_tiles,
      seen=masks.Interval(None, None),
      triangular=False,
      scale=scale,
      chunk=chunk,
  )
  wide = lambda x: x.astype(marks.wide)
  values, _ = attend(marks.q, wide(k), wide(v))
  values = marks.product("bhmn,bnhv->bmhv", marks.inverse(iterations), values)
  out, _ = attend(wide(q), marks.k, values)
  return contract.Result(out.astype(v.dtype), None)


class _Landmarks(NamedTuple):
  """Landmarks of a call, and what is made of them.

  Attributes:
    q: `[B, M, H, K]`.
    k: `[B, M, H, K]`, each key head as often as it is read.
    scale: multiplies the scores.
    wide: dtype of sums.
    product: `einsum` of the call's precision.
  """

  q: jax.Array
  k: jax.Array
  scale: Any
  wide: Any
  product: Callable

  def weights(self, q: jax.Array, k: jax.Array) -> jax.Array:
    """Returns sm(q k^T) of (1), `[B, H, T, S]`."""
    x = self.product("bthk,bshk->bhts", q * self.scale, k)
    return jax.nn.softmax(x, axis=-1)

  def inverse(self, iterations: int) -> jax.Array:
    """Returns (2), `[B, H, M, M]`."""
    shapes.check_positive("iterations", iterations)
    product = functools.partial(self.product, "bhmn,bhno->bhmo")
    A = self.weights(self.q, self.k)
    most = lambda axis: jnp.abs(A).sum(axis=axis).max(axis=-1)
    Z = jnp.swapaxes(A, -1, -2) / (most(-1) * most(-2))[..., None, None]
    eye = jnp.eye(A.shape[-1], dtype=A.dtype)
    for _ in range(iterations):
      AZ = product(A, Z)
      Z = product(
          Z, 13 * eye - product(AZ, 15 * eye - product(AZ, 7 * eye - AZ))
      )
      Z = Z / 4
    return Z


def _landmarks(q, k, v, causal, scale, landmarks) -> _Landmarks:
  """Checks the call."""
  sizes = shapes.check_qkv(q, k, v)
  if causal:
    raise ValueError(
        "causal: expected False, for landmarks are of all tokens, got"
        f" {causal}"
    )
  shapes.check_scalar("scale", scale)
  fewest = min(sizes["T"], sizes["S"])
  if landmarks is None:
    landmarks = min(LANDMARKS, fewest)
  shapes.check_positive("landmarks", landmarks)
  if landmarks > fewest:
    raise ValueError(
        f"landmarks: expected at most {fewest}, as many as tokens, got"
        f" {landmarks}"
    )
  wide = contract.accumulator(q.dtype, k.dtype, v.dtype)
  precision = contract.precision(q.dtype, k.dtype, v.dtype)
  if scale is None:
    scale = 1 / math.sqrt(sizes["K"])
  return _Landmarks(
      _means(q.astype(wide), landmarks),
      _means(_shared(k, wide, q), landmarks),
      scale,
      wide,
      functools.partial(jnp.einsum, precision=precision),
  )


def _shared(x: jax.Array, wide: Any, q: jax.Array) -> jax.Array:
  """Returns keys or values `[B, S, G, D]` a query head each."""
  return jnp.repeat(x.astype(wide), q.shape[2] // x.shape[2], axis=2)


def _means(x: jax.Array, count: int) -> jax.Array:
  """Returns means of segments `[B, M, H, K]` of `[B, T, H, K]`."""
  size, more = divmod(x.shape[1], count)
  edge = more * (size + 1)
  mean = lambda y, n: y.reshape(len(y), -1, n, *y.shape[2:]).mean(axis=2)
  parts = [mean(x[:, :edge], size + 1)] if more else []
  return jnp.concatenate([*parts, mean(x[:, edge:], size)], axis=1)
