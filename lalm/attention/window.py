"""Softmax attention within a window (Beltagy et al. 2020, arXiv 2004.05150).

Query t sees the W tokens up to its own, or, not causal, W - 1 to either side:

    o_t = softmax(scale q_t . k_s)_s v_s,   t - W < s <= t  (s < t + W)     (1)

Of all earlier tokens the last W are kept, in a ring: token p stands in slot
p mod W.

| form      | products (a head)                     | memory beyond inputs     |
|-----------|---------------------------------------|--------------------------|
| parallel  | 2 T S (K + V)                         | T S                      |
| chunkwise | 2 T (W + C) (K + V)                   | T V, grads W T / C more  |
| step      | 2 W (K + V) a token                   | W                        |

A chunk of C queries meets the W keys before it and its own; not causal, also
the W or more after it, for which queries wait.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import banded
from lalm.attention import cache as caches
from lalm.attention import contract
from lalm.attention import masks
from lalm.attention import scores

WINDOW = 256
CHUNK = 128


class State(NamedTuple):
  """Ring of the last W keys and values, in their own dtypes.

  `keys` `[B, G, W, K]` and `values` `[B, G, W, V]`; `length` tokens have been
  seen. `start` `[B]` is where the last document begins and `segment` `[B]` is
  its id.
  """

  keys: jax.Array
  values: jax.Array
  length: jax.Array
  start: jax.Array
  segment: jax.Array


def init(
    batch: int,
    heads: int,
    width: int,
    value_width: int,
    *,
    capacity: int | None = None,
    dtype: Any = jnp.float32,
    window: int = WINDOW,
) -> State:
  """Returns an empty ring.

  Args:
    batch: B.
    heads: G, key/value heads.
    width: K.
    value_width: V.
    capacity: most tokens to come; the ring has the same size for any.
    dtype: of keys and values.
    window: W.
  """
  del capacity
  for name in ("batch", "heads", "width", "value_width", "window"):
    shapes.check_positive(name, locals()[name])
  return State(
      jnp.zeros((batch, heads, window, width), dtype),
      jnp.zeros((batch, heads, window, value_width), dtype),
      jnp.zeros((), jnp.int32),
      jnp.zeros(batch, jnp.int32),
      jnp.zeros(batch, jnp.int32),
  )


@contract.form
def parallel(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    window: int | None = None,
) -> contract.Result:
  """Returns (1) through the matrix of all scores: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, T, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, T, G, V]`.
    causal: whether query t sees no key after it.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: ring of the tokens before.
    window: W, tokens a query sees to its left, its own one of them; if None
      the size of the ring, or 256 without a state.

  Returns:
    out `[B, T, H, V]` in v's dtype and the ring after the last token.

  Raises:
    ValueError: a rank, dtype, axis or combination the contract excludes.
  """
  call = _prepare(q, k, v, causal, segment_ids, state, window)
  keys, values, seen = k, v, call.seen
  if state is not None:
    keys, values = banded.joined(_in_order(call), [k, v])
    values = caches.unrounded(values, v)
    seen = jax.tree.map(lambda x: x + call.window, seen)
  mask = masks.dense(seen, keys.shape[1])
  out, _ = scores.over_matrix(q, keys, values, mask, scale)
  return contract.Result(out.astype(v.dtype), _after(call, k, v))


@contract.form
def chunkwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    window: int | None = None,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) chunk by chunk, the keys before a chunk handed from one to it.

  Arguments, result and errors as in `parallel`.

  Args:
    chunk: C, queries a chunk; 128 or W if None, whatever is less.
  """
  call = _prepare(q, k, v, causal, segment_ids, state, window)
  if chunk is None:
    chunk = min(CHUNK, call.window)
  shapes.check_positive("chunk", chunk)
  before = _in_order(call)
  out = banded.attend(
      q,
      banded.Keys(k, v),
      call.seen,
      banded.Keys(before[0], before[1]),
      causal=causal,
      scale=scale,
      chunk=chunk,
  )
  return contract.Result(out.astype(v.dtype), _after(call, k, v))


@contract.form
def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    window: int | None = None,
) -> contract.Result:
  """Returns (1) for one more token, T = 1, which replaces the oldest.

  Arguments, result and errors as in `parallel`.
  """
  shapes.check_one_token(q, k)
  call = _prepare(q, k, v, True, segment_ids, state, window)
  slot = call.written % call.window
  # How many tokens ago each slot was written: W, too many, for the next one.
  age = (slot - 1 - jnp.arange(call.window)) % call.window + 1
  out, ring = caches.step(
      q,
      k,
      v,
      call.ring,
      seen=age <= -call.seen.start,
      position=slot,
      scale=scale,
  )
  length = jnp.asarray(call.written + 1, jnp.int32)
  return contract.Result(out, State(*ring, length, *call.document))


def matrix(q: jax.Array, k: jax.Array, **gates: Any) -> jax.Array:
  """Returns the `[B, H, T, T]` matrix of weights: `parallel` on the identity.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, T, G, K]`.
    **gates: keywords of `parallel`.
  """
  v = contract.identity_values(k)
  return jnp.swapaxes(parallel(q, k, v, **gates).out, 1, 2)


class _Call(NamedTuple):
  """A checked call.

  Attributes:
    ring: keys and values, as the state has them, blank without one.
    written: tokens seen before the call.
    seen: `masks.Interval` of each query, counted from the call's first token.
    document: first position and id of the last document, `[B]`.
  """

  ring: caches.Cache
  written: Any
  seen: Any
  document: list[jax.Array]

  @property
  def window(self) -> int:
    """W."""
    return self.ring.keys.shape[2]


def _prepare(q, k, v, causal, segment_ids, state, window) -> _Call:
  """Checks the call."""
  axes = shapes.check_qkv(q, k, v)
  if state is not None:
    _check_state(state, k, v)
  kept = None if state is None else state.keys.shape[2]
  if window is None:
    window = kept or WINDOW
  shapes.check_positive("window", window)
  if kept not in (None, window):
    raise ValueError(
        f"state: expected a ring of window = {window} tokens, got {kept}"
    )
  batch, length = axes["B"], axes["T"]
  shapes.check_own_keys(axes)
  masks.check_segment_ids(segment_ids, batch, length, length)
  blank = lambda x: jnp.zeros((batch, x.shape[2], window, x.shape[3]), x.dtype)
  ring, written, start, last = caches.Cache(blank(k), blank(v)), 0, None, None
  if state is not None:
    ring = caches.Cache(state.keys, state.values)
    written, start, last = state[2:]
  seen, *document = masks.of_call(
      batch, length, length, causal, segment_ids, written, start, last
  )
  token = written + jnp.arange(length, dtype=jnp.int32)
  if seen.stop is None:
    seen = seen._replace(stop=jnp.int32(written + length))
  of_rows = lambda x: jnp.broadcast_to(x, (batch, length)) - written
  seen = jax.tree.map(of_rows, masks.near(seen, token, window))
  return _Call(ring, written, seen, document)


def _check_state(state: State, k: jax.Array, v: jax.Array) -> None:
  shapes.check_state("state", state, State)
  shapes.check_axes(
      {
          "k": (k, "BSGK"),
          "state.keys": (state.keys, "BGWK"),
          "v": (v, "BSGV"),
          "state.values": (state.values, "BGWV"),
      }
  )
  shapes.check_integers("state.length", state.length, ())
  shapes.check_integers("state.start", state.start, k.shape[:1])
  shapes.check_integers("state.segment", state.segment, k.shape[:1])


def _in_order(call: _Call) -> list[jax.Array]:
  """Returns keys and values of the ring, the oldest first."""
  shift = -(call.written % call.window)
  return [jnp.roll(caches.heads_first(x), shift, axis=1) for x in call.ring]


def _after(call: _Call, *new: jax.Array) -> State:
  """Returns the state after the new keys and values."""
  window, length = call.window, new[0].shape[1]
  end = call.written + length
  last = [x[:, -window:] for x in new]
  if length < window:
    last = banded.joined([x[:, length:] for x in _in_order(call)], last)
  keys, values = [
      caches.heads_first(jnp.roll(x.astype(like.dtype), end % window, axis=1))
      for x, like in zip(last, call.ring)
  ]
  return State(keys, values, jnp.asarray(end, jnp.int32), *call.document)
