"""How the scores of softmax attention are cut into tiles.

Full attention is a rectangle of tiles. The causal triangle of N blocks is
walked without visiting the future and with static trip counts: query blocks p
and N-1-p have p and N-1-p blocks of keys below the diagonal, so a task of the
two always has

    p + (N - 1 - p) = N - 1 tiles below the diagonal, and two upon it.    (1)

A diagonal tile is itself cut into strips of queries, each of which meets a
small masked square and the unmasked keys before it: what is computed beyond
the triangle is half a strip a query, not half a tile.
"""

from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import masks

# Numbers in a tile: 4 MB of float32, within a core's share of a large cache.
_AREA = 2**20
_BLOCK = 1024
_STRIP = 352


class Tiling(NamedTuple):
  """Tile sizes; `strip` > 0 walks the causal triangle by (1)."""

  queries: int
  keys: int
  strip: int = 0

  def padding(self, queries: int, keys: int) -> tuple[int, int]:
    """Returns the tokens missing to whole tiles: of queries, of keys."""
    if self.strip:
      return (-queries % (self.slots(queries) * self.queries),) * 2
    return -queries % self.queries, -keys % self.keys

  def slots(self, queries: int) -> int:
    """Returns the query blocks of a task: the two of (1), else one."""
    return 2 if self.strip and queries > self.queries else 1

  def area(self, queries: int, keys: int) -> int:
    """Returns the scores computed for a head of padded lengths."""
    if not self.strip:
      return queries * keys
    blocks, size = queries // self.queries, self.queries
    below = blocks * (blocks - 1) // 2 * size**2
    upon = sum((stop - start) * stop for start, stop in self.strips())
    return below + blocks * upon

  def strips(self) -> list[tuple[int, int]]:
    """Returns the first query of each strip of a block, and the one after."""
    starts = range(0, self.queries, self.strip)
    return [(i, min(i + self.strip, self.queries)) for i in starts]


def choose(
    queries: int, keys: int, chunk: int | None, triangular: bool
) -> Tiling:
  """Returns tiles of about `chunk` tokens a side that waste little padding.

  Args:
    queries: T.
    keys: S.
    chunk: tokens along a side, about; by default a tile has 2^20 scores at
      most.
    triangular: T = S and no query sees a later key.
  """
  if triangular:
    most = chunk or _BLOCK
    blocks = 1 if queries <= most else 2 * -(-queries // (2 * most))
    size = -(-queries // blocks)
    size = _even(size, 1, most)
    return Tiling(size, size, min(_STRIP, size))
  most = chunk or 2 * _BLOCK
  size = _even(keys, -(-keys // most), most)
  most = chunk or _AREA // size
  return Tiling(_even(queries, -(-queries // most), most), size)


def _even(length: int, parts: int, most: int) -> int:
  """Returns the size of equal parts: of 8 tokens or more, within `most`."""
  size = -(-length // parts)
  return min(-(-size // 8) * 8, max(most, size))


def tasks(x: jax.Array, tiles: Tiling) -> jax.Array:
  """Cuts `[R, T, ...]` into query blocks by task: `[R * P, slots, C, ...]`."""
  slots = tiles.slots(x.shape[1])
  x = x.reshape(x.shape[0], -1, tiles.queries, *x.shape[2:])
  if slots == 2:
    half = x.shape[1] // 2
    x = jnp.stack([x[:, :half], x[:, : half - 1 : -1]], axis=2)
  else:
    x = x[:, :, None]
  return x.reshape(-1, *x.shape[2:])


def untask(x: jax.Array, repeats: int) -> jax.Array:
  """Inverse of `tasks`: `[R * P, slots, C, ...]` to `[R, T, ...]`."""
  x = x.reshape(repeats, -1, *x.shape[1:])
  if x.shape[2] == 2:
    x = jnp.concatenate([x[:, :, 0], x[:, ::-1, 1]], axis=1)
  else:
    x = x[:, :, 0]
  return x.reshape(repeats, -1, *x.shape[3:])


def numbers(count: int, repeats: int) -> jax.Array:
  """Returns the number within its query head of each of `count` tasks."""
  return jnp.tile(jnp.arange(count // repeats), repeats)


def diagonal(task: jax.Array, slots: int, blocks: int) -> jax.Array:
  """Returns the key block on the diagonal for each slot of a task."""
  return jnp.stack([task, blocks - 1 - task])[:slots]


class Steps(NamedTuple):
  """The tiles of a task: which of its query blocks meets which key block."""

  slot: jax.Array
  block: jax.Array


def steps(task: jax.Array, blocks: int, tiles: Tiling) -> Steps:
  """Returns the tiles of a task in order; below the diagonal only, by (1)."""
  if not tiles.strip:
    return Steps(jnp.zeros(blocks, jnp.int32), jnp.arange(blocks))
  t = jnp.arange(blocks - 1)
  first = t < task
  return Steps(
      jnp.where(first, 0, 1).astype(jnp.int32), jnp.where(first, t, t - task)
  )


def pick(x: Any, index: jax.Array | int) -> Any:
  """Returns entry `index` of the leading axis of every array in `x`."""
  take = lambda a: lax.dynamic_index_in_dim(a, index, keepdims=False)
  return jax.tree.map(take, x)


def pick_all(x: Any, indices: jax.Array) -> Any:
  """Returns the entries `indices` of the leading axis of every array."""
  return jax.tree.map(lambda a: a[indices], x)


def put(x: Any, new: Any, index: jax.Array) -> Any:
  """Returns `x` with entry `index` of every leading axis replaced."""
  write = lambda a, b: lax.dynamic_update_index_in_dim(a, b, index, 0)
  return jax.tree.map(write, x, new)


def mask(
    scores: jax.Array,
    seen: masks.Interval,
    first_key: Any,
    keys_axis: int,
    square: bool = False,
) -> jax.Array:
  """Sets the scores of keys that are not seen to -inf.

  Args:
    scores: of one tile, queries along one axis and keys along the other.
    seen: the keys each query of the tile sees.
    first_key: position of the tile's first key.
    keys_axis: 0 or 1.
    square: a square upon the diagonal, beyond which nothing is seen.
  """
  key = lax.broadcasted_iota(jnp.int32, scores.shape, keys_axis)
  allowed = []
  if square:
    query = lax.broadcasted_iota(jnp.int32, scores.shape, 1 - keys_axis)
    allowed.append(key <= query)
  along = lambda x: jnp.expand_dims(x - first_key, keys_axis)
  if seen.stop is not None:
    allowed.append(key < along(seen.stop))
  if seen.start is not None:
    allowed.append(key >= along(seen.start))
  for condition in allowed:
    scores = jnp.where(condition, scores, -jnp.inf)
  return scores
