"""Softmax attention tile by tile: linear memory in every derivative.

With scores S = q k^T (q already scaled), L = logsumexp_s S over the keys a
query sees and P = exp(S - L), the forward pass keeps a running maximum, sum
and output a query (Milakov and Gimelshein 2018, arXiv 1805.02867; Rabe and
Staats 2021, arXiv 2112.05682):

    o = P v.                                                          (1)

Differentiating through that recurrence would store every tile, so the tangent
is written out instead, linear in (dq, dk, dv):

    dS = dq k^T + q dk^T,  dL = sum_s P dS,
    do = (P dS) v + P dv - dL o.                                      (2)

Its scans over tiles are rematerialised, so that their transpose is the
backward pass of Dao et al. 2022 (arXiv 2205.14135): five products a tile, and
nothing of size T x S is stored. Being ordinary code, (2) has derivatives of
its own.

Causal tiles beyond the diagonal are never visited: query blocks p and N-1-p
together see N+1 key blocks, so every trip count is static (3).
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.attention import masks

# Finite, so that a row that has seen no key yet never computes inf - inf.
_LOWEST = -1e30


class Tiling(NamedTuple):
  """Tile sizes; `paired` walks the causal triangle by (3)."""

  queries: int
  keys: int
  paired: bool

  def padding(self, queries: int, keys: int) -> tuple[int, int]:
    """Returns the tokens missing to whole tiles: of queries, of keys."""
    if self.paired:
      return (-queries % (2 * self.queries),) * 2
    return -queries % self.queries, -keys % self.keys


def tiling(
    queries: int, keys: int, chunk: int | None, triangular: bool
) -> Tiling:
  """Returns tiles of about `chunk` tokens that waste little padding.

  Args:
    queries: T.
    keys: S.
    chunk: most tokens a tile; by default 512 queries and 1024 keys, which keep
      a float32 tile in a CPU core's cache.
    triangular: causal with T = S and no earlier keys.
  """
  if triangular and queries > (chunk or 128):
    size = _even_tile(queries, chunk or 512, 2)
    return Tiling(size, size, True)
  return Tiling(
      _even_tile(queries, chunk or 512, 1),
      _even_tile(keys, chunk or 1024, 1),
      False,
  )


def _even_tile(length: int, most: int, multiple: int) -> int:
  """Returns the tile when `length` is cut in equal parts of at most `most`."""
  parts = multiple * -(-length // (multiple * most))
  size = -(-length // parts)
  return min(-(-size // 8) * 8, max(most, 1))


@functools.partial(jax.custom_jvp, nondiff_argnums=(4, 5))
def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    interval: masks.Interval,
    tiles: Tiling,
    precision: lax.Precision,
) -> tuple[jax.Array, jax.Array]:
  """Returns (1) and L, one tile at a time.

  Args:
    q: scaled queries `[B, G, R, T, K]`, R of them for each key/value head.
    k: keys `[B, G, S, K]`.
    v: values `[B, G, S, V]`; T and S are multiples of the tiles.
    interval: the keys each query sees, `[B, T]`.
    tiles: tile sizes.
    precision: of the products.

  Returns:
    out `[B, G, R, T, V]` and L `[B, G, R, T]`, both 0 where no key is seen.
  """
  head = functools.partial(_head_forward, tiles=tiles, precision=precision)
  return _over_heads(head, (q, k, v), interval)


@attend.defjvp
def _attend_jvp(tiles: Tiling, precision: Any, primals: Any, tangents: Any):
  q, k, v, interval = primals
  out, lse = attend(q, k, v, interval, tiles, precision)
  head = functools.partial(_head_tangent, tiles=tiles, precision=precision)
  arrays = (q, k, v, out, lse, *tangents[:3])
  return (out, lse), _over_heads(_recomputed(head), arrays, interval)


# Inside a scan the barriers of `prevent_cse` only cost time.
_recomputed = functools.partial(jax.checkpoint, prevent_cse=False)


def _over_heads(head: Callable, arrays: tuple, interval: Any) -> Any:
  """Maps `head(*arrays, interval)` over batch and key/value heads in turn."""

  def row(xs: Any) -> Any:
    arrays, interval = xs
    return lax.map(lambda a: head(*a, interval=interval), arrays)

  return lax.map(row, (arrays, interval))


def _blocks(x: jax.Array, size: int) -> jax.Array:
  return x.reshape(x.shape[0] // size, size, *x.shape[1:])


def _tasks(x: jax.Array, tiles: Tiling) -> jax.Array:
  """Cuts `[R, T, ...]` into query blocks by task: `[R * P, slots, C, ...]`."""
  x = x.reshape(x.shape[0], -1, tiles.queries, *x.shape[2:])
  if tiles.paired:
    half = x.shape[1] // 2
    x = jnp.stack([x[:, :half], x[:, : half - 1 : -1]], axis=2)
  else:
    x = x[:, :, None]
  return x.reshape(-1, *x.shape[2:])


def _untask(x: jax.Array, repeats: int, tiles: Tiling) -> jax.Array:
  """Inverse of `_tasks`: `[R * P, slots, C, ...]` to `[R, T, ...]`."""
  x = x.reshape(repeats, -1, *x.shape[1:])
  if tiles.paired:
    x = jnp.concatenate([x[:, :, 0], x[:, ::-1, 1]], axis=1)
  else:
    x = x[:, :, 0]
  return x.reshape(repeats, -1, *x.shape[3:])


def _interval_tasks(interval: masks.Interval, repeats: int, tiles: Tiling):
  spread = lambda x: jnp.broadcast_to(x, (repeats, *x.shape))
  return jax.tree.map(lambda x: _tasks(spread(x), tiles), interval)


class _Steps(NamedTuple):
  slot: jax.Array  # which query block of the task
  block: jax.Array  # which key block it meets


def _steps(task: jax.Array, blocks: int, tiles: Tiling) -> _Steps:
  """The (slot, key block) pairs of a task, by (3)."""
  if not tiles.paired:
    return _Steps(jnp.zeros(blocks, jnp.int32), jnp.arange(blocks))
  t = jnp.arange(blocks + 1)
  first = t <= task
  return _Steps(
      jnp.where(first, 0, 1).astype(jnp.int32),
      jnp.where(first, t, t - task - 1),
  )


def _pick(x: Any, index: jax.Array) -> Any:
  take = lambda a: lax.dynamic_index_in_dim(a, index, keepdims=False)
  return jax.tree.map(take, x)


def _put(x: Any, new: Any, index: jax.Array) -> Any:
  put = lambda a, b: lax.dynamic_update_index_in_dim(a, b, index, 0)
  return jax.tree.map(put, x, new)


def _mask(scores: jax.Array, interval: Any, first_key: Any, keys_axis: int):
  """Sets the scores outside the interval to -inf; a no-op without bounds."""
  if interval.start is None and interval.stop is None:
    return scores
  key = lax.broadcasted_iota(jnp.int32, scores.shape, keys_axis) + first_key
  along = lambda x: jnp.expand_dims(x, keys_axis)
  seen = True
  if interval.stop is not None:
    seen = key < along(interval.stop)
  if interval.start is not None:
    seen = seen & (key >= along(interval.start))
  return jnp.where(seen, scores, -jnp.inf)


def _head_forward(q, k, v, *, interval, tiles: Tiling, precision: Any):
  """(1) for the R query heads `[R, T, K]` of one key/value head `[S, K]`."""
  repeats = q.shape[0]
  blocks = k.shape[0] // tiles.keys
  k, v = _blocks(k, tiles.keys), _blocks(v, tiles.keys)
  product = functools.partial(jnp.einsum, precision=precision)

  def task(xs: Any) -> Any:
    index, q_task, seen = xs

    def tile(carry: Any, step: _Steps) -> Any:
      top, total, out = _pick(carry, step.slot)
      q_i, seen_i = _pick((q_task, seen), step.slot)
      k_j, v_j = _pick((k, v), step.block)
      s = product("qd,kd->qk", q_i, k_j)
      s = _mask(s, seen_i, step.block * tiles.keys, 1)
      new_top = jnp.maximum(top, s.max(axis=1))
      p = jnp.exp(s - new_top[:, None])
      shrink = jnp.exp(top - new_top)
      new = (
          new_top,
          total * shrink + p.sum(axis=1),
          out * shrink[:, None] + product("qk,kv->qv", p, v_j),
      )
      return _put(carry, new, step.slot), None

    shape = q_task.shape[:-1]
    empty = (
        jnp.full(shape, _LOWEST, q.dtype),
        jnp.zeros(shape, q.dtype),
        jnp.zeros((*shape, v.shape[-1]), q.dtype),
    )
    (top, total, out), _ = lax.scan(tile, empty, _steps(index, blocks, tiles))
    lse = jnp.where(total > 0, top + jnp.log(jnp.where(total > 0, total, 1)), 0)
    return contract.divide(out, total[..., None]), lse

  q = _tasks(q, tiles)
  xs = (_task_ids(q, repeats), q, _interval_tasks(interval, repeats, tiles))
  out, lse = lax.map(task, xs)
  return _untask(out, repeats, tiles), _untask(lse, repeats, tiles)


def _task_ids(q: jax.Array, repeats: int) -> jax.Array:
  return jnp.tile(jnp.arange(q.shape[0] // repeats), repeats)


def _head_tangent(
    q, k, v, out, lse, dq, dk, dv, *, interval, tiles: Tiling, precision: Any
):
  """(2) for one key/value head, arrays as in `_head_forward`.

  Tiles are `[keys, queries]` and query blocks `[width, queries]` here: then no
  product of the transpose contracts over a tile's leading axis, which costs a
  CPU a transposed copy of the tile (five times slower).
  """
  repeats = q.shape[0]
  blocks = k.shape[0] // tiles.keys
  k, v, dk, dv = (_blocks(x, tiles.keys) for x in (k, v, dk, dv))
  product = functools.partial(jnp.einsum, precision=precision)

  def task(xs: Any) -> Any:
    index, (q_task, dq_task, out_task), lse_task, seen = xs
    steps = _steps(index, blocks, tiles)
    # Gathered ahead: the transpose of a slice inside the scan would touch all
    # of dk and dv at every step.
    dk_steps, dv_steps = (
        (x[steps.block] for x in (dk, dv)) if tiles.paired else (dk, dv)
    )

    def tile(carry: Any, xs: Any) -> Any:
      step, dk_j, dv_j = xs
      q_i, dq_i, lse_i, seen_i = _pick(
          (q_task, dq_task, lse_task, seen), step.slot
      )
      k_j, v_j = _pick((k, v), step.block)
      s = product("kd,dq->kq", k_j, q_i)
      s = _mask(s - lse_i, seen_i, step.block * tiles.keys, 0)
      p = jnp.exp(s)
      ds = product("kd,dq->kq", k_j, dq_i) + product("kd,dq->kq", dk_j, q_i)
      pds = p * ds
      d_out, d_lse = _pick(carry, step.slot)
      d_out += product("kv,kq->vq", v_j, pds) + product("kv,kq->vq", dv_j, p)
      return _put(carry, (d_out, d_lse + pds.sum(axis=0)), step.slot), None

    zeros = (jnp.zeros_like(out_task), jnp.zeros_like(lse_task))
    (d_out, d_lse), _ = lax.scan(
        _recomputed(tile), zeros, (steps, dk_steps, dv_steps)
    )
    return d_out - d_lse[..., None, :] * out_task, d_lse

  upright = lambda x: jnp.swapaxes(_tasks(x, tiles), -1, -2)
  q_tasks = upright(q)
  xs = (
      _task_ids(q_tasks, repeats),
      (q_tasks, upright(dq), upright(out)),
      _tasks(lse, tiles),
      _interval_tasks(interval, repeats, tiles),
  )
  d_out, d_lse = lax.map(_recomputed(task), xs)
  d_out = jnp.swapaxes(d_out, -1, -2)
  return _untask(d_out, repeats, tiles), _untask(d_lse, repeats, tiles)
