"""Attention within a window over a sequence that is split over devices.

A query sees the W tokens up to its own, so a device with T / P tokens needs W
more, those before its first. They come from the device before it, or from as
many as hold W tokens; what is sent does not depend on the length. To its form
they are the ring of a state.
"""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import cache
from lalm.attention import contract
from lalm.attention import window as windows
from lalm.sharding import place


def of_shard(
    form: contract.Form,
    axis: str,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    segment_ids: jax.Array | None = None,
    state: windows.State | None = None,
    window: int | None = None,
    **keywords: Any,
) -> contract.Result:
  """Returns what a form of `window` does, on each device with its own tokens.

  Args:
    form: `window.parallel` or `window.chunkwise`.
    axis: of the mesh, over which the tokens are split in order.
    q: this device's queries `[B, T / P, H, K]`.
    k: its keys `[B, T / P, G, K]`.
    v: its values `[B, T / P, G, V]`.
    causal: True: a query that sees tokens to come would wait for another
      device.
    segment_ids: of its tokens, integers `[B, T / P]`: packed documents.
    state: ring before the first token of all, the same on every device.
    window: W, as of the form.
    **keywords: of the form.

  Returns:
    out `[B, T / P, H, V]` of its tokens, and the ring after the last token of
    all, the same on every device.

  Raises:
    ValueError: causal=False, or as in the form.
  """
  if not causal:
    raise ValueError("causal: expected True with a split window, got False")
  before = _blank(k, v, window) if state is None else state
  given = {"segment_ids": segment_ids, "window": window, **keywords}
  own = _before(axis, k, v, segment_ids, before)
  out, after = form(q, k, v, state=own, **given)
  return contract.Result(out, place.of_last(axis, after))


def _blank(k: jax.Array, v: jax.Array, window: int | None) -> windows.State:
  sizes = (k.shape[0], k.shape[2], k.shape[3], v.shape[3])
  size = windows.WINDOW if window is None else window
  state = windows.init(*sizes, window=size, dtype=k.dtype)
  return state._replace(values=state.values.astype(v.dtype))


def _before(
    axis: str,
    k: jax.Array,
    v: jax.Array,
    segment_ids: jax.Array | None,
    state: windows.State,
) -> windows.State:
  """The state before a device's first token."""
  seen = place.seen(axis, k.shape[1])
  window, written = state.keys.shape[2], state.length + seen

  def ring(old: jax.Array, new: jax.Array) -> jax.Array:
    old = jnp.roll(cache.heads_first(old), -(state.length % window), axis=1)
    near = _nearest(axis, new.astype(old.dtype), window)
    older = (jnp.arange(window) < window - seen)[:, None, None]
    tokens = jnp.where(older, jnp.roll(old, -seen, axis=1), near)
    return cache.heads_first(jnp.roll(tokens, written % window, axis=1))

  start, segment = state.start, state.segment
  if segment_ids is not None:
    start, segment = place.document(
        axis, segment_ids, state.length, start, segment
    )
  keys, values = ring(state.keys, k), ring(state.values, v)
  return windows.State(keys, values, written, start, segment)


def _nearest(axis: str, x: jax.Array, window: int) -> jax.Array:
  """The W tokens before a device's own, `[B, W, ...]`; zeros where none are."""
  devices, length = lax.axis_size(axis), x.shape[1]
  hops = min(-(-window // length), devices - 1)
  found = []
  for hop in range(hops, 0, -1):
    # Of the farthest device only what is within the window.
    last = min(length, window - (hop - 1) * length)
    pairs = [(i, i + hop) for i in range(devices - hop)]
    found.append(lax.ppermute(x[:, length - last :], axis, pairs))
  missing = window - sum(part.shape[1] for part in found)
  none = jnp.zeros((x.shape[0], missing, *x.shape[2:]), x.dtype)
  return jnp.concatenate([none, *found], axis=1)
