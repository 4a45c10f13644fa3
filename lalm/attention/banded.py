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

from lalm.attention import lanes
from lalm.attention import masks
from lalm.attention import softmax


class Keys(NamedTuple):
  """Keys `[B, S, G, K]`, values `[B, S, G, V]`, other arrays `[B, S, ...]`."""

  k: jax.Array
  v: jax.Array
  marks: tuple[jax.Array, ...] = ()


def attend(
    q: jax.Array,
    keys: Keys,
    seen: masks.Interval,
    before: Keys,
    *,
    causal: bool,
    scale: Any,
    chunk: int,
    bias: Callable[[Any, Any], jax.Array] | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns softmax attention within a band, and the logsumexp of its scores.

  Args:
    q: queries `[B, T, H, K]`.
    keys: of the same tokens.
    seen: keys each query sees, counted from the first token; within the band.
    before: the W keys before these.
    causal: whether no query sees a key after it.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    chunk: C.
    bias: of the marks of queries and of keys, what is added to their scores,
      `[B, H, C, W + C]`.

  Returns:
    out `[B, T, H, V]` in the dtype of the values before; logsumexp `[B, T, H]`.
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
    more = None if bias is None else bias(marks, near.marks)
    results = softmax.over_matrix(q, near.k, near.v, mask, scale, more)
    held = jax.tree.map(lambda x: x[:, chunk:], near)
    return held, jax.tree.map(lanes.thin, results)

  _, (out, lse) = lanes.scan(one, jax.tree.map(behind, before), arrays, chunk)
  out = lanes.join(out, batch, length + late, heads, keys.v.shape[-1])
  lse = lanes.join(lse, batch, length + late, heads, 1)[..., 0]
  return out[:, late:], lse[:, late:]


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
