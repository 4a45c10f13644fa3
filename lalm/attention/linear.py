"""Linear attention (Katharopoulos et al. 2020, arXiv 2006.16236).

The score is a product of features, so that sums over keys are a state:

    S_t = S_{t-1} + phi(k_t) v_t^T,   z_t = z_{t-1} + phi(k_t),
    o_t = S_t^T phi(q_t) / (z_t . phi(q_t))                           (1)

(equations 8 to 12 there); unnormalised, o_t = scale S_t^T phi(q_t). The scale
multiplies the score, so that normalised it cancels. Full attention reads S_T
and z_T at every t.

| form      | products (causal, a head)          | memory beyond inputs       |
|-----------|------------------------------------|----------------------------|
| parallel  | 2 T S (F + V)                      | T S                        |
| recurrent | 4 T F V                            | T V + T / C states         |
| chunkwise | 2 T (C F + C V + 2 F V), C = chunk | T V + T / C states (grads) |
| step      | 4 F V a token                      | F V                        |
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import contract
from lalm.attention import features
from lalm.attention import lanes
from lalm.attention import masks
from lalm.attention import sums

State = sums.State


def init(
    batch: int,
    heads: int,
    width: int,
    value_width: int,
    *,
    capacity: int | None = None,
    dtype: Any = jnp.float32,
    feature_map: Any = features.elu_plus_one,
) -> State:
  """Returns the state before the first token.

  Args:
    batch: B.
    heads: G, key/value heads.
    width: K.
    value_width: V.
    capacity: most tokens to come; the state has the same size for any.
    dtype: of the inputs; sums are float32 at least.
    feature_map: decides F.
  """
  del capacity
  sizes = dict(batch=batch, heads=heads, width=width, value_width=value_width)
  for name, size in sizes.items():
    shapes.check_positive(name, size)
  wide = contract.accumulator(dtype)
  count = features.feature_width(feature_map, width)
  return State(
      jnp.zeros((batch, heads, count, value_width), wide),
      jnp.zeros((batch, heads, count), wide),
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
    feature_map: Any = features.elu_plus_one,
    normalize: bool = True,
    block: int | None = None,
) -> contract.Result:
  """Returns (1) through the T x S matrix of scores: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, S, G, V]`.
    causal: query t sees keys up to t, and all that `state` has seen.
    scale: multiplies the scores, 1 if None; cancels when normalised.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: sums over earlier tokens.
    feature_map: phi, `[..., K]` to `[..., F]`.
    normalize: divide by z . phi(q).
    block: b, for block-causal attention: query t also sees the tokens after it
      in its block of b, counted from the first token of the call.

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: a rank, dtype, axis or combination the contract excludes.
  """
  call, before, ids = _check(
      q, k, v, causal, scale, segment_ids, state, feature_map, block
  )
  q_all, k_all, v_all, ids = call.lanes(q, k, v, ids)
  order = "causal" if causal else "all"
  parts = call.within(q_all, k_all, v_all, ids, order)
  if block is not None:
    within = sums.blocks(q.shape[1], block, ids)
    within = jnp.broadcast_to(within, k_all.shape[:2])
    parts = sums.add(parts, call.within(q_all, k_all, v_all, within, "after"))
  if state is not None:
    parts = sums.add(call.read(before, q_all, ids), parts)
  out = call.output(parts, normalize).astype(v.dtype)
  after = call.write(before, k_all, v_all, ids)
  return contract.Result(out, call.leave(after))


@contract.form
def recurrent(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    feature_map: Any = features.elu_plus_one,
    normalize: bool = True,
    block: int | None = None,
) -> contract.Result:
  """Returns (1) token by token, as it is written.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, S, G, V]`.
    causal: query t sees keys up to t, and all that `state` has seen.
    scale: multiplies the scores, 1 if None; cancels when normalised.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: sums over earlier tokens.
    feature_map: phi, `[..., K]` to `[..., F]`.
    normalize: divide by z . phi(q).
    block: b, for block-causal attention: query t also sees the tokens after it
      in its block of b, counted from the first token of the call.

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: as in `parallel`.
  """
  call, state, ids = _check(
      q, k, v, causal, scale, segment_ids, state, feature_map, block
  )
  return sums.over_chunks(
      call,
      sums.by_token,
      state,
      sums.Arrays(q, k, v, ids),
      causal=causal,
      block=block,
      normalize=normalize,
      chunk=sums.CHUNK,
  )


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
    feature_map: Any = features.elu_plus_one,
    normalize: bool = True,
    block: int | None = None,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) chunk by chunk: scores within, the state between chunks.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, S, G, V]`.
    causal: query t sees keys up to t, and all that `state` has seen.
    scale: multiplies the scores, 1 if None; cancels when normalised.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: sums over earlier tokens.
    feature_map: phi, `[..., K]` to `[..., F]`.
    normalize: divide by z . phi(q).
    block: b, for block-causal attention: query t also sees the tokens after it
      in its block of b, counted from the first token of the call.
    chunk: C, tokens a chunk; if None 32, or 512 for full attention of one
      document. Longer ones do more products within, fewer between.

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: as in `parallel`, or chunk < 1.
  """
  if chunk is None:
    chunk = sums.default_chunk(causal, segment_ids is not None)
  shapes.check_positive("chunk", chunk)
  call, state, ids = _check(
      q, k, v, causal, scale, segment_ids, state, feature_map, block
  )
  return sums.over_chunks(
      call,
      sums.by_chunk,
      state,
      sums.Arrays(q, k, v, ids),
      causal=causal,
      block=block,
      normalize=normalize,
      chunk=chunk,
  )


@contract.form
def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    feature_map: Any = features.elu_plus_one,
    normalize: bool = True,
) -> contract.Result:
  """Returns (1) for one more token, T = S = 1.

  Args:
    q: queries `[B, 1, H, K]`.
    k: keys `[B, 1, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, 1, G, V]`.
    scale: multiplies the scores, 1 if None; cancels when normalised.
    segment_ids: integers `[B, 1]`; another id than the last starts a document.
    state: sums over earlier tokens.
    feature_map: phi, `[..., K]` to `[..., F]`.
    normalize: divide by z . phi(q).

  Returns:
    out `[B, 1, H, V]` in v's dtype and the state after the token.

  Raises:
    ValueError: T or S is not 1, or as in `parallel`.
  """
  shapes.check_one_token(q, k)
  call, state, ids = _check(
      q, k, v, True, scale, segment_ids, state, feature_map
  )
  token = call.lanes(q, k, v, ids)
  one = functools.partial(sums.one_token, call, "causal")
  state, parts = lanes.by_batch(one, q.shape[0], state, token)
  out = call.output(parts, normalize).astype(v.dtype)
  return contract.Result(out, call.leave(state))


def matrix(q: jax.Array, k: jax.Array, **gates: Any) -> jax.Array:
  """Returns the `[B, H, T, S]` matrix applied: `parallel` on the identity.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`.
    **gates: keywords of `parallel`.
  """
  v = contract.identity_values(k)
  return jnp.swapaxes(parallel(q, k, v, **gates).out, 1, 2)


def _check(
    q, k, v, causal, scale, segment_ids, state, feature_map, block=None
) -> tuple[sums.Pieces, State, Any]:
  """Checks the call; returns its pieces, state in lanes and ids as int32."""
  sizes = shapes.check_qkv(q, k, v)
  shapes.check_scalar("scale", scale)
  batch, queries, keys = sizes["B"], sizes["T"], sizes["S"]
  if causal and queries != keys:
    raise ValueError(
        f"k: expected as many keys as queries when causal (T = {queries}), got"
        f" S = {keys}"
    )
  masks.check_segment_ids(segment_ids, batch, queries, keys)
  if block is not None:
    shapes.check_positive("block", block)
    if not causal:
      raise ValueError(f"block: expected causal=True with it, got {block}")
  dtype = contract.accumulator(q.dtype, k.dtype, v.dtype)
  fresh = init(
      batch,
      sizes["G"],
      sizes["K"],
      sizes["V"],
      dtype=dtype,
      feature_map=feature_map,
  )
  if state is None:
    state = fresh
  shapes.check_like("state", state, fresh)
  precision = contract.precision(q.dtype, k.dtype, v.dtype)
  product = functools.partial(jnp.einsum, precision=precision)
  segment_ids, state = masks.enter(segment_ids, state)
  call = sums.Pieces(sizes, feature_map, product, scale, dtype)
  return call, call.enter(state), segment_ids
