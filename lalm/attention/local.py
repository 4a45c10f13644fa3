"""Attention within buckets (Reformer, Kitaev et al. 2020, arXiv 2001.04451).

Tokens are hashed n times; in each round a query sees the W tokens next to it of
its own bucket, and what it has seen in any round it weighs once:

    o_t = softmax(scale q_t . k_s)_s v_s,
    s: in some round b_t = b_s and |c_t - c_s| < W                         (1)

where c_t counts the tokens before t in its bucket; causal, only those up to t.
(Equations 4 to 8 there, which cut the sorted tokens into chunks, so that a
query sees W to 2 W of them, and hash one array that is query and key.)

| form      | products (a head)               | memory beyond inputs |
|-----------|---------------------------------|----------------------|
| parallel  | 2 T^2 (K + V)                   | n T^2                |
| chunkwise | 2 n T (W + C) (K + V), sorted   | n T V + C (W + C)    |

`chunkwise` sorts the tokens by their buckets, so that those next to each other
are a band of keys (`banded`), and adds up the rounds; a pair that meets in m of
them counts 1 / m in each. There is no state, and there are no
packed documents.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import banded
from lalm.attention import contract
from lalm.attention import masks
from lalm.attention import scores

WINDOW = 128
CHUNK = 128
ROUNDS = 2
COUNT = 16


def buckets(
    key: jax.Array, x: jax.Array, count: int = COUNT, rounds: int = ROUNDS
) -> jax.Array:
  """Returns hashes that similar directions are likely to share.

  argmax of (x R, -x R), R normal (Andoni et al. 2015, arXiv 1509.02897).

  Args:
    key: a `jax.random.key`.
    x: what is hashed, `[B, T, G, K]`; most often the keys.
    count: of buckets, an even number.
    rounds: n.

  Returns:
    `[B, T, G, n]` int32 in [0, count).

  Raises:
    ValueError: a rank or dtype of x, or a count that is not even.
  """
  shapes.check_array("x", x, "BTGK")
  shapes.check_positive("rounds", rounds)
  shapes.check_positive("count", count)
  if count % 2:
    raise ValueError(f"count: expected an even number of buckets, got {count}")
  R = jax.random.normal(key, (x.shape[-1], rounds, count // 2), x.dtype)
  y = jnp.einsum("btgk,knc->btgnc", x, R)
  return jnp.argmax(jnp.concatenate([y, -y], axis=-1), axis=-1).astype("int32")


@contract.form
def parallel(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    buckets: jax.Array,
    scale: float | jax.Array | None = None,
    window: int = WINDOW,
) -> contract.Result:
  """Returns (1) through the T x T scores: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, T, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, T, G, V]`.
    causal: whether query t sees no key after it.
    buckets: integers `[B, T, G, n]`, of any values.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    window: W, tokens of its bucket that a query sees to its left, its own one
      of them.

  Returns:
    out `[B, T, H, V]` in v's dtype; its state is None.

  Raises:
    ValueError: a rank, dtype or axis the contract excludes.
  """
  _check(q, k, v, buckets, window)
  t = jnp.arange(q.shape[1])
  b = jnp.moveaxis(buckets, 1, -1)
  same = b[..., :, None] == b[..., None, :]
  c = (same & (t < t[:, None])).sum(axis=-1)
  seen = same & (jnp.abs(c[..., :, None] - c[..., None, :]) < window)
  seen = seen.any(axis=2)
  if causal:
    seen &= t <= t[:, None]
  seen = jnp.repeat(seen, q.shape[2] // k.shape[2], axis=1)
  out, _ = scores.over_matrix(q, k, v, seen, scale)
  return contract.Result(out.astype(v.dtype), None)


@contract.form
def chunkwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    buckets: jax.Array,
    scale: float | jax.Array | None = None,
    window: int = WINDOW,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) on sorted tokens, chunk by chunk: linear in T but for the sort.

  Arguments, result and errors as in `parallel`.

  Args:
    chunk: C, queries a chunk; 128 or W if None, whatever is less.
  """
  _check(q, k, v, buckets, window)
  window = min(window, q.shape[1])  # a token sees no more than there are
  if chunk is None:
    chunk = min(CHUNK, window)
  shapes.check_positive("chunk", chunk)
  rounds = _rounds(buckets)
  keys = banded.Keys(rounds.sort(k), rounds.sort(v), rounds.marks(window))
  blank = lambda x: jnp.zeros((x.shape[0], window, *x.shape[2:]), x.dtype)
  wide = contract.accumulator(q.dtype, k.dtype, v.dtype)
  once = functools.partial(_once, window=window, wide=wide)
  sums = banded.attend(
      rounds.sort(q),
      keys,
      rounds.seen(causal, window),
      jax.tree.map(blank, keys),
      causal=causal,
      scale=scale,
      chunk=chunk,
      shares=once if keys.marks else None,
      finish=lambda sums: sums,
  )
  # Rounds as one: their weights are of one largest score.
  out, total, top = map(rounds.unsort, sums)
  factor = jnp.exp(top - top.max(axis=2, keepdims=True))
  out = contract.divide(
      (out * factor).sum(axis=2), (total * factor).sum(axis=2)
  )
  out = jnp.swapaxes(out, 1, 2).reshape(*q.shape[:3], -1)
  return contract.Result(out.astype(v.dtype), None)


class _Rounds(NamedTuple):
  """Tokens in the order of their buckets, for each round; L = B G n lanes.

  Attributes:
    buckets: b, `[B, G, n, T]`.
    order: which token stands at a place of the order, `[B, G, n, T]`.
    back: which place a token stands at.
  """

  buckets: jax.Array
  order: jax.Array
  back: jax.Array

  def sort(self, x: jax.Array) -> jax.Array:
    """Returns `[B, T, H, D]` as `[L, T, H / G, D]`."""
    batch, groups, _, length = self.order.shape
    rows = x.reshape(batch, length, groups, -1)
    rows = jnp.swapaxes(rows, 1, 2)[:, :, None]
    rows = jnp.take_along_axis(rows, self.order[..., None], axis=3)
    return rows.reshape(-1, length, x.shape[2] // groups, x.shape[3])

  def unsort(self, x: jax.Array) -> jax.Array:
    """Returns `[L, T, R, D]` as `[B, G, n, T, R, D]`."""
    rows = x.reshape(*self.order.shape, -1)
    rows = jnp.take_along_axis(rows, self.back[..., None], axis=3)
    return rows.reshape(*self.order.shape, *x.shape[2:])

  def seen(self, causal: bool, window: int) -> masks.Interval:
    """Returns the places each place sees, `[L, T]`."""
    ids = self._sorted()
    rows, length = ids.shape
    none = (0, None, None)  # tokens before
    seen, *_ = masks.of_call(rows, length, length, causal, ids, *none)
    return masks.near(seen, jnp.arange(length), window)

  def marks(self, window: int) -> tuple[jax.Array, ...]:
    """Returns a number for each token and other round, n - 1 times `[L, T]`.

    Those of two tokens differ by less than W where they meet in that round:
    it is their place in its order, and before each bucket W are left out.
    """
    batch, groups, rounds, length = self.order.shape
    ids = self._sorted()
    begins = _begins(ids)
    places = jnp.arange(length) + window * jnp.cumsum(begins, axis=1)
    places = places.astype(jnp.int32).reshape(self.order.shape)
    places = jnp.take_along_axis(places, self.back, axis=-1)
    found = []
    for other in range(1, rounds):
      of_tokens = jnp.roll(places, -other, axis=2)
      marks = jnp.take_along_axis(of_tokens, self.order, axis=-1)
      found.append(marks.reshape(-1, length))
    return tuple(found)

  def _sorted(self) -> jax.Array:
    """Returns the buckets in order, `[L, T]`, 64-bit ones numbered from 0."""
    ids = jnp.take_along_axis(self.buckets, self.order, axis=-1)
    ids = ids.reshape(-1, ids.shape[-1])
    if ids.dtype.itemsize > 4:  # masks compare ids as int32
      ids = jnp.cumsum(_begins(ids), axis=1, dtype=jnp.int32)
    return ids


def _begins(ids: jax.Array) -> jax.Array:
  """Returns whether another bucket begins at a place, but for the first."""
  return jnp.pad(ids[:, 1:] != ids[:, :-1], ((0, 0), (1, 0)))


def _rounds(buckets: jax.Array) -> _Rounds:
  buckets = jnp.moveaxis(buckets, 1, -1)
  order = jnp.argsort(buckets, axis=-1, stable=True)
  return _Rounds(buckets, order, jnp.argsort(order, axis=-1))


def _once(own: Any, others: Any, *, window: int, wide: Any) -> jax.Array:
  """Returns 1 / m for pairs that meet in m rounds, `[L, 1, C, S]`."""
  apart = (jnp.abs(t[:, :, None] - s[:, None]) for t, s in zip(own, others))
  meets = ((distance < window).astype(wide) for distance in apart)
  return 1 / (1 + functools.reduce(jnp.add, meets))[:, None]


def _check(q, k, v, buckets, window) -> None:
  """Checks the call."""
  sizes = shapes.check_qkv(q, k, v)
  shapes.check_own_keys(sizes)
  shapes.check_positive("window", window)
  shape: tuple[int, ...] = getattr(buckets, "shape", ())
  rounds = shape[-1] if len(shape) == 4 and shape[-1] else 1
  expected = (sizes["B"], sizes["T"], sizes["G"], rounds)
  shapes.check_integers("buckets", buckets, expected)
