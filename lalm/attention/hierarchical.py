"""Log-linear attention (Guo et al. 2025, arXiv 2506.04761, equations 4 and 9).

The tokens before t are cut as a Fenwick tree cuts them: for each bit b that is
set in t there is a block of 2^b tokens, the longest first. Each block has a
state, and a query weighs what it reads of each by the block's level,

    o_t = scale sum_s w_t[l(t, s)] exp(g_{s+1} + ... + g_t) (q_t . k_s) v_s,
    l(t, s) = the number of bits of t xor s,   s <= t,                      (1)

which is 0 for the token itself and b + 1 for the block of 2^b tokens. Weights
of 1 give linear attention without a normaliser, decayed by g (Mamba-2). There
are N levels beside level 0, enough for 2^N tokens of a document.

| form      | products (a head)                   | beyond inputs             |
|-----------|-------------------------------------|---------------------------|
| recurrent | 2 T (N + 1) K V                     | T V, grads N T / M states |
| chunkwise | 2 T (C K + C V + (N - c + 1) K V)   | T V, grads N T / C states |
| step      | 2 (N + 1) K V a token               | N K V                     |

c = log2 C: a chunk is within blocks of C tokens or more. From a state, and with
several documents, chunks begin anywhere in a block, and c more levels are read
and written (`hierarchical_costs`).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from lalm import shapes
from lalm.attention import calls
from lalm.attention import contract
from lalm.attention import fenwick
from lalm.attention import masks

CHUNK = 64
State = fenwick.State


def levels(length: int) -> int:
  """Returns N + 1, the levels that documents of so many tokens have."""
  shapes.check_positive("length", length)
  return max(1, (length - 1).bit_length()) + 1


def check_levels(weights: jax.Array, least: int, length: int) -> None:
  """Raises ValueError where weights are of fewer levels than tokens need."""
  count = weights.shape[-1]
  if count < least:
    raise ValueError(
        f"weights: expected {least} levels or more for {length} tokens, got"
        f" {count}"
    )


def init(
    batch: int,
    heads: int,
    width: int,
    value_width: int,
    *,
    capacity: int,
    dtype: Any = jnp.float32,
) -> State:
  """Returns the state before the first token.

  Args:
    batch: B.
    heads: G, key/value heads.
    width: K.
    value_width: V.
    capacity: most tokens of a document, which decides N. A row computed past
      2^N is NaN: where a document stands is not known when the call is
      compiled.
    dtype: of the inputs; sums are float32 at least.
  """
  for name in ("batch", "heads", "width", "value_width", "capacity"):
    shapes.check_positive(name, locals()[name])
  shape = (batch, heads, levels(capacity) - 1, width, value_width)
  return State(
      jnp.zeros(shape, contract.accumulator(dtype)),
      jnp.zeros((batch, heads), jnp.int32),
      jnp.zeros(batch, jnp.int32),
  )


@contract.form
def recurrent(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    weights: jax.Array,
    log_decay: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
) -> contract.Result:
  """Returns (1) token by token: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, T, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, T, G, V]`.
    causal: True; there is no full form.
    weights: w_t of each level, `[B, T, H, N + 1]`.
    log_decay: g_t, at most 0: `[G]` or `[B, T, G]`, or None. A number above 0
      lets sums grow.
    scale: multiplies the output, 1 if None.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents, each with
      blocks of its own.
    state: sums over the tokens before.

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: a rank, dtype or axis the contract excludes, causal=False, or
      too few levels for T tokens.
  """
  call = _prepare(
      q, k, v, weights, log_decay, scale, segment_ids, state, causal
  )
  return calls.recurrent(fenwick.token, *call)


@contract.form
def chunkwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    weights: jax.Array,
    log_decay: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) chunk by chunk.

  Arguments, result and errors as in `recurrent`.

  Args:
    chunk: C, 64 if None. Of one document from its first token, chunks of 2^c
      tokens never begin within a block, which saves c levels.
  """
  if chunk is None:
    chunk = CHUNK
  shapes.check_positive("chunk", chunk)
  call, before, x = _prepare(
      q, k, v, weights, log_decay, scale, segment_ids, state, causal
  )
  length = q.shape[1]
  chunk = min(chunk, length)
  inner = fenwick.levels_within(chunk)
  anywhere = functools.partial(fenwick.chunk, inner=inner, anywhere=True)
  whole = 0
  if state is None and segment_ids is None:
    whole = fenwick.aligned(length, chunk)
  if not whole:
    return calls.chunkwise(anywhere, call, before, x, chunk)
  part = lambda start, stop: jax.tree.map(
      lambda y: lax.slice_in_dim(y, start, stop, axis=1), x
  )
  body = functools.partial(fenwick.chunk, inner=inner, anywhere=False)
  out, after = calls.chunkwise(
      body, call, before._replace(S=before.S[:, :, inner:]), part(0, whole),
      chunk,
  )  # fmt: skip
  none = jnp.zeros_like(before.S[:, :, :inner])
  after = after._replace(S=jnp.concatenate([none, after.S], axis=2))
  if whole == length:
    return contract.Result(out, after)
  rest, after = calls.chunkwise(
      anywhere, call, after, part(whole, length), chunk
  )
  return contract.Result(jnp.concatenate([out, rest], axis=1), after)


@contract.form
def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    weights: jax.Array,
    log_decay: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
) -> contract.Result:
  """Returns (1) for one more token, T = 1.

  Arguments, result and errors as in `recurrent`.
  """
  shapes.check_one_token(q, k)
  call = _prepare(q, k, v, weights, log_decay, scale, segment_ids, state)
  return calls.step(fenwick.token, *call)


def _prepare(
    q, k, v, weights, log_decay, scale, segment_ids, state, causal=True
) -> tuple[calls.Call, State, calls.Tokens]:
  """Checks the call; returns what the forms of `calls` take."""
  sizes = shapes.check_qkv(q, k, v)
  shapes.check_array("weights", weights, "BTHN")
  batch, length, groups = sizes["B"], sizes["T"], sizes["G"]
  count = weights.shape[-1]
  least = 2 if state is not None else levels(length)
  check_levels(weights, least, length)
  shapes.check_gate("weights", weights, {**sizes, "N": count}, ("BTHN",))
  if getattr(log_decay, "ndim", 0) == 4:
    raise ValueError(
        "log_decay: expected [G] or [B, T, G], for a number a feature is not"
        f" supported, got {log_decay.shape}"
    )
  call, state, x = calls.prepare(
      q,
      k,
      v,
      log_decay=log_decay,
      scale=scale,
      segment_ids=segment_ids,
      state=state,
      causal=causal,
      start=functools.partial(init, capacity=1 << (count - 1)),
      weights=weights,
  )
  # Levels without a block hold nothing, in values and in gradients.
  state = fenwick.held(state)
  position = jnp.arange(length, dtype=jnp.int32) + state.position[:, :1]
  if x.ids is not None:
    own = jnp.arange(length, dtype=jnp.int32) - masks.first_of_document(x.ids)
    goes_on = x.ids == state.segment[:, None]
    position = jnp.where(goes_on, position, own)
  position = jnp.broadcast_to(position[..., None], (batch, length, groups))
  return call, state, x._replace(position=position)
