"""Softmax attention to a band of keys, chunk by chunk.

A query sees keys among the W tokens up to its own, or among the W - 1 to either
side. So a chunk of C queries meets its own keys and the W before them, which
are handed from chunk to chunk; with keys to come too, queries wait for these.
Scores of a chunk are the only ones that are ever there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.attention import lanes
from lalm.attention import masks
from lalm.attention import scores


class Keys(NamedTuple):
  """Keys `[B, S, G, K]`, values `[B, S, G, V]`, other arrays `[B, S, ...]`."""

  k: jax.Array
  v: jax.Array
  marks: tuple[jax.Array, ...] = ()


def quotient(sums: scores.Sums) -> jax.Array:
  """Returns the output of attention, `[B, H, T, V]`."""
  return contract.divide(sums.out, sums.total)


def attend(
    q: jax.Array,
    keys: Keys,
    seen: masks.Interval,
    before: Keys,
    *,
    causal: bool,
    scale: Any,
    chunk: int,
    shares: Callable[[Any, Any], jax.Array] | None = None,
    finish: Callable[[scores.Sums], Any] = quotient,
) -> Any:
  """Returns softmax attention within a band.

  Args:
    q: queries `[B, T, H, K]`.
    keys: of the same tokens.
    seen: keys each query sees, counted from the first token; within the band.
    before: the W keys before these.
    causal: whether no query sees a key after it.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    chunk: C.
    shares: of the marks of queries and of keys, factors of their weights,
      `[B, H, C, W + C]`.
    finish: of the sums of a chunk, what is returned of it.

  Returns:
    `[B, T, H, ...]` for each `[B, H, T, ...]` of `finish`.
  """
  batch, length, heads, _ = q.shape
  chunk = min(chunk, length)
  late, span = sizes(chunk, before.k.shape[1], causal)
  behind = lambda x: _padded(x, late, 0)
  # What queries see is counted from the first key of their chunk's span.
  first = (jnp.arange(length) + late) // chunk * chunk - span
  own = (q, *jax.tree.map(lambda x: x - first, seen), keys.marks)
  arrays = (
      jax.tree.map(behind, own),
      jax.tree.map(lambda x: _padded(x, 0, late), keys),
  )

  def one(held: Keys, xs: Any) -> Any:
    (q, start, stop, marks), new = xs
    near = joined(held, new)
    mask = masks.dense(masks.Interval(start, stop), span + chunk)
    more = None if shares is None else shares(marks, near.marks)
    sums = scores.sums_over_matrix(q, near.k, near.v, mask, scale, shares=more)
    held = jax.tree.map(lambda x: x[:, chunk:], near)
    thin = lambda x: lanes.thin(jnp.swapaxes(x, 1, 2))
    return held, jax.tree.map(thin, finish(sums))

  def whole(x: jax.Array) -> jax.Array:
    width = x.size // (x.shape[0] * batch * chunk * heads)
    return lanes.join(x, batch, length + late, heads, width)[:, late:]

  _, results = lanes.scan(one, jax.tree.map(behind, before), arrays, chunk)
  return jax.tree.map(whole, results)


def sizes(chunk: int, window: int, causal: bool) -> tuple[int, int]:
  """Returns how many tokens queries wait, and the keys before a chunk's own.

  Args:
    chunk: C.
    window: W.
    causal: whether no query sees a key after it.
  """
  late = 0 if causal else -(-(window - 1) // chunk) * chunk
  return late, late + window


def joined(before: Any, new: Any) -> Any:
  """Returns arrays before and new ones as one, in the dtypes of before."""
  join = lambda x, y: jnp.concatenate([x, y.astype(x.dtype)], axis=1)
  return jax.tree.map(join, before, new)


def _padded(x: jax.Array, before: int, after: int) -> jax.Array:
  """Pads the tokens of `[B, T, ...]` with zeros."""
  pad = [(before, after) if i == 1 else (0, 0) for i in range(x.ndim)]
  return jnp.pad(x, pad) if before or after else x
