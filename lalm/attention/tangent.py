"""The derivative of softmax attention, tile by tile.

With S, L, P and o as in `tiles`, the tangent is linear in (dq, dk, dv):

    dS = dq k^T + q dk^T,  dL = sum_s P dS,
    do = (P dS) v + P dv - dL o.                                      (1)

Its scans over tiles are rematerialised, so that their transpose is the
backward pass of Dao et al. 2022 (arXiv 2205.14135): five products a tile, and
nothing of size T x S is stored. Being ordinary code, (1) has derivatives of
its own.

Tiles are `[keys, queries]` and query blocks `[width, queries]` here: then no
product of the transpose contracts over a tile's leading axis, which costs a
CPU a transposed copy of the tile (five times slower).
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import exponential
from lalm.attention import masks
from lalm.attention import tiling

# Inside a scan the barriers of `prevent_cse` only cost time.
_recomputed = functools.partial(jax.checkpoint, prevent_cse=False)


class _Queries(NamedTuple):
  """A block of C queries: q and dq `[K, C]`, L `[C]`, bounds `[C]`."""

  q: jax.Array
  dq: jax.Array
  lse: jax.Array
  seen: masks.Interval


class _Keys(NamedTuple):
  """A block of keys: k and dk `[C, K]`, v and dv `[C, V]`."""

  k: jax.Array
  v: jax.Array
  dk: jax.Array
  dv: jax.Array


def _tile(
    queries: _Queries,
    keys: _Keys,
    first_key: Any,
    square: bool = False,
    *,
    precision: Any,
) -> tuple[jax.Array, jax.Array]:
  """Returns what a tile adds to do + dL o, `[V, C]`, and to dL, `[C]`."""
  product = functools.partial(jnp.einsum, precision=precision)
  q, dq, lse, seen = queries
  k, v, dk, dv = keys
  s = product("kd,dq->kq", k, q) - lse
  p = exponential.exp(tiling.mask(s, seen, first_key, 0, square))
  pds = p * (product("kd,dq->kq", k, dq) + product("kd,dq->kq", dk, q))
  d_out = product("kv,kq->vq", v, pds) + product("kv,kq->vq", dv, p)
  return d_out, pds.sum(axis=0)


def _diagonal(
    tile: Callable, strips: Any, block: Any, queries: _Queries, keys: _Keys
) -> Any:
  """Returns what C queries get from their own block of keys."""
  first = block * queries.lse.shape[0]
  rows = []
  for start, stop in strips:
    queries_i = jax.tree.map(lambda x: x[..., start:stop], queries)
    own = jax.tree.map(lambda x: x[start:stop], keys)
    row = tile(queries_i, own, first + start, True)
    if start:
      before = jax.tree.map(lambda x: x[:start], keys)
      row = jax.tree.map(jnp.add, row, tile(queries_i, before, first))
    rows.append(row)
  return jax.tree.map(lambda *x: jnp.concatenate(x, axis=-1), *rows)


def attend(
    arrays: tuple[jax.Array, ...],
    seen: masks.Interval,
    tiles: tiling.Tiling,
    precision: lax.Precision,
) -> tuple[jax.Array, jax.Array]:
  """Returns (1) for all heads.

  Args:
    arrays: q, k, v, out, L and the tangents of q, k, v, as `tiles.attend`.
    seen: as `tiles.attend`.
    tiles: tile sizes.
    precision: of the products.

  Returns:
    do `[B, T, H, V]` and dL `[B, T, H]`.
  """
  q, k, v, out, lse, dq, dk, dv = arrays
  batch, length, heads = lse.shape
  keyed = lambda x: jnp.swapaxes(x, 1, 2)
  grouped = lambda x: keyed(x).reshape(
      batch, k.shape[2], -1, length, *x.shape[3:]
  )
  body = _recomputed(functools.partial(head, tiles=tiles, precision=precision))

  def row(xs: Any) -> Any:
    arrays, seen = xs
    return lax.map(lambda x: body(*x, seen=seen), arrays)

  q, out, lse, dq = map(grouped, (q, out, lse, dq))
  k, v, dk, dv = map(keyed, (k, v, dk, dv))
  results = lax.map(row, ((q, k, v, out, lse, dq, dk, dv), seen))
  joined = lambda x: x.reshape(batch, heads, length, *x.shape[4:])
  return jax.tree.map(lambda x: keyed(joined(x)), results)


def head(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    out: jax.Array,
    lse: jax.Array,
    dq: jax.Array,
    dk: jax.Array,
    dv: jax.Array,
    *,
    seen: masks.Interval,
    tiles: tiling.Tiling,
    precision: Any,
) -> tuple[jax.Array, jax.Array]:
  """Returns (1) for the R query heads of one key/value head.

  Args:
    q: scaled queries `[R, T, K]`.
    k: keys `[S, K]`.
    v: values `[S, V]`.
    out: o, `[R, T, V]`.
    lse: L, `[R, T]`.
    dq: tangent of q.
    dk: tangent of k.
    dv: tangent of v.
    seen: the keys each query sees, `[T]`.
    tiles: tile sizes.
    precision: of the products.

  Returns:
    do `[R, T, V]` and dL `[R, T]`.
  """
  repeats, blocks = q.shape[0], k.shape[0] // tiles.keys
  cut = lambda x: x.reshape(blocks, tiles.keys, x.shape[-1])
  keys = _Keys(*map(cut, (k, v, dk, dv)))
  tile = functools.partial(_tile, precision=precision)

  def task(xs: Any) -> Any:
    number, queries, out_task = xs
    steps = tiling.steps(number, blocks, tiles)
    if tiles.strip:
      own = tiling.diagonal(number, queries.q.shape[0], blocks)
      body = _recomputed(lambda xs: _diagonal(tile, tiles.strips(), *xs))
      start = lax.map(body, (own, queries, tiling.pick_all(keys, own)))
    else:
      start = (jnp.zeros_like(out_task), jnp.zeros_like(queries.lse))
    # Gathered ahead: the transpose of a slice inside the scan would touch all
    # of dk and dv at every step.
    moving = tiling.pick_all((keys.dk, keys.dv), steps.block)

    def step(sums: Any, xs: Any) -> Any:
      step, (dk_j, dv_j) = xs
      k_j, v_j = tiling.pick((keys.k, keys.v), step.block)
      more = tile(
          tiling.pick(queries, step.slot),
          _Keys(k_j, v_j, dk_j, dv_j),
          step.block * tiles.keys,
      )
      new = jax.tree.map(jnp.add, tiling.pick(sums, step.slot), more)
      return tiling.put(sums, new, step.slot), None

    (d_out, d_lse), _ = lax.scan(_recomputed(step), start, (steps, moving))
    return d_out - d_lse[..., None, :] * out_task, d_lse

  tasks = functools.partial(tiling.tasks, tiles=tiles)
  upright = lambda x: jnp.swapaxes(tasks(x), -1, -2)
  spread = lambda x: tasks(jnp.broadcast_to(x, (repeats, *x.shape)))
  queries = _Queries(
      upright(q), upright(dq), tasks(lse), jax.tree.map(spread, seen)
  )
  numbers = tiling.numbers(queries.lse.shape[0], repeats)
  xs = (numbers, queries, upright(out))
  d_out, d_lse = lax.map(_recomputed(task), xs)
  d_out = jnp.swapaxes(d_out, -1, -2)
  return tiling.untask(d_out, repeats), tiling.untask(d_lse, repeats)
