"""Softmax attention tile by tile: linear memory in every derivative.

With scores S = q k^T (q already scaled), L = logsumexp_s S over the keys a
query sees and P = exp(S - L), the forward pass keeps a running maximum, sum
and output a query (Milakov and Gimelshein 2018, arXiv 1805.02867; Rabe and
Staats 2021, arXiv 2112.05682):

    o = P v.                                                          (1)

Differentiating through that recurrence would store every tile, so the tangent
is written out instead (`tangent`).
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.attention import exponential
from lalm.attention import masks
from lalm.attention import tangent
from lalm.attention import tiling

# Finite, so that a row that has seen no key yet never computes inf - inf.
_LOWEST = -1e30


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    seen: masks.Interval,
    tiles: tiling.Tiling,
    precision: lax.Precision,
) -> tuple[jax.Array, jax.Array]:
  """Returns (1) and L, one tile at a time.

  Args:
    q: scaled queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H.
    v: values `[B, S, G, V]`; T and S are multiples of the tiles.
    seen: the keys each query sees, `[B, T]`; where `tiles` walk the triangle,
      bounds beyond those of causality.
    tiles: tile sizes.
    precision: of the products.

  Returns:
    out `[B, T, H, V]` and L `[B, T, H]`, both 0 where no key is seen.
  """
  batch, length, heads, _ = q.shape
  blocks, slots = k.shape[1] // tiles.keys, tiles.slots(length)
  tasks = length // (slots * tiles.queries)
  tile = functools.partial(_tile, precision=precision)

  def task(results: Any, number: jax.Array) -> Any:
    lane, number = number // tasks, number % tasks
    cut = _Cut(q, k, v, seen, lane // heads, lane % heads, tiles)
    if tiles.strip:
      own = tiling.diagonal(number, slots, blocks)
      known = lax.map(functools.partial(_diagonal, tile, cut), own)
    else:
      own = number[None]
      known = _nothing((1, tiles.queries), v.shape[-1], q.dtype)

    def step(known: _Running, step: tiling.Steps) -> Any:
      q_i, seen_i = cut.queries(own[step.slot])
      k_j, v_j = cut.keys(step.block)
      known_i = tiling.pick(known, step.slot)
      new = tile(known_i, q_i, k_j, v_j, seen_i, step.block * tiles.keys)
      return tiling.put(known, new, step.slot), None

    known, _ = lax.scan(step, known, tiling.steps(number, blocks, tiles))
    finished = _finish(known)
    for slot in range(slots):
      results = cut.put(results, tiling.pick(finished, slot), own[slot])
    return results, None

  shape = (batch, length, heads)
  empty = jnp.zeros((*shape, v.shape[-1]), q.dtype), jnp.zeros(shape, q.dtype)
  results, _ = lax.scan(task, empty, jnp.arange(batch * heads * tasks))
  return results


class _Cut(NamedTuple):
  """Cuts blocks of one head out of whole arrays, and puts results in place.

  Moving the heads of whole arrays first would read and write them once more.
  """

  q: jax.Array
  k: jax.Array
  v: jax.Array
  seen: masks.Interval
  row: jax.Array
  head: jax.Array
  tiles: tiling.Tiling

  def queries(self, index: jax.Array) -> tuple[jax.Array, masks.Interval]:
    """Returns `[C, K]` queries and the keys they see."""
    size = self.tiles.queries
    seen = jax.tree.map(
        lambda x: lax.dynamic_slice(x, (self.row, index * size), (1, size))[0],
        self.seen,
    )
    return self._block(self.q, self.head, index, size), seen

  def keys(self, index: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns `[C, K]` keys and `[C, V]` values."""
    head = self.head // (self.q.shape[2] // self.k.shape[2])
    cut = functools.partial(
        self._block, head=head, index=index, size=self.tiles.keys
    )
    return cut(self.k), cut(self.v)

  def _block(self, x: jax.Array, head: Any, index: Any, size: int) -> jax.Array:
    start = (self.row, index * size, head, 0)
    block = lax.dynamic_slice(x, start, (1, size, 1, x.shape[-1]))
    return block.reshape(size, -1)

  def put(self, results: Any, new: Any, index: jax.Array) -> Any:
    """Returns the results with those of one block of queries written."""
    start = (self.row, index * self.tiles.queries, self.head, 0)

    def write(x: jax.Array, block: jax.Array) -> jax.Array:
      block = block[None, :, None]
      return lax.dynamic_update_slice(x, block, start[: x.ndim])

    return jax.tree.map(write, results, new)


@attend.defjvp
def _attend_jvp(tiles: Any, precision: Any, primals: Any, tangents: Any):
  q, k, v, seen = primals
  out, lse = attend(q, k, v, seen, tiles, precision)
  arrays = (q, k, v, out, lse, *tangents[:3])
  results = tangent.attend(arrays, seen, tiles, precision)
  return (out, lse), results


class _Running(NamedTuple):
  """What is known of C queries after some keys, as (1) needs it."""

  top: jax.Array  # largest score
  total: jax.Array  # sum of exp(score - top)
  out: jax.Array  # sum of exp(score - top) v


def _nothing(shape: tuple[int, ...], width: int, dtype: Any) -> _Running:
  return _Running(
      jnp.full(shape, _LOWEST, dtype),
      jnp.zeros(shape, dtype),
      jnp.zeros((*shape, width), dtype),
  )


def _tile(
    so_far: _Running,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    seen: masks.Interval,
    first_key: Any,
    square: bool = False,
    *,
    precision: Any,
) -> _Running:
  """Returns `so_far` with the keys of one more tile."""
  product = functools.partial(jnp.einsum, precision=precision)
  s = tiling.mask(product("qd,kd->qk", q, k), seen, first_key, 1, square)
  top = jnp.maximum(so_far.top, s.max(axis=1))
  p = exponential.exp(s - top[:, None])
  shrink = exponential.exp(so_far.top - top)
  return _Running(
      top,
      so_far.total * shrink + p.sum(axis=1),
      so_far.out * shrink[:, None] + product("qk,kv->qv", p, v),
  )


def _diagonal(tile: Callable, cut: _Cut, block: jax.Array) -> _Running:
  """Returns what C queries know after their own block of keys."""
  q, seen = cut.queries(block)
  k, v = cut.keys(block)
  first = block * q.shape[0]
  known = _nothing(q.shape[:1], v.shape[-1], q.dtype)
  for start, stop in cut.tiles.strips():
    row = slice(start, stop)
    q_i, seen_i, new = jax.tree.map(lambda x: x[row], (q, seen, known))
    new = tile(new, q_i, k[row], v[row], seen_i, first + start, True)
    if start:
      new = tile(new, q_i, k[:start], v[:start], seen_i, first)
    write = functools.partial(lax.dynamic_update_slice_in_dim, axis=0)
    known = jax.tree.map(lambda x, y: write(x, y, start), known, new)
  return known


def _finish(known: _Running) -> tuple[jax.Array, jax.Array]:
  top, total, out = known
  some = total > 0
  lse = jnp.where(some, top + jnp.log(jnp.where(some, total, 1)), 0)
  return contract.divide(out, total[..., None]), lse
