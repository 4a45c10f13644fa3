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

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lalm import shapes
from lalm.attention import calls
from lalm.attention import chunks
from lalm.attention import contract
from lalm.attention import decays
from lalm.attention import masks

CHUNK = 64


class State(NamedTuple):
  """A sum for each level above 0, float32 at least.

  `S` `[B, G, N, K, V]`; `position` `[B, G]`, how many tokens of the last
  document they are of; its id `segment` `[B]`.
  """

  S: jax.Array
  position: jax.Array
  segment: jax.Array


def levels(length: int) -> int:
  """Returns N + 1, the levels that documents of so many tokens have."""
  shapes.check_positive("length", length)
  return max(1, (length - 1).bit_length()) + 1


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
  return calls.recurrent(token, *call)


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
  inner = bits(chunk)
  anywhere = functools.partial(_chunk, inner=inner, anywhere=True)
  whole = 0
  if state is None and segment_ids is None:
    whole = aligned(length, chunk)
  if not whole:
    return calls.chunkwise(anywhere, call, before, x, chunk)
  part = lambda start, stop: jax.tree.map(
      lambda y: lax.slice_in_dim(y, start, stop, axis=1), x
  )
  body = functools.partial(_chunk, inner=inner, anywhere=False)
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
  return calls.step(token, *call)


def bits(count: int) -> int:
  """Returns c, the levels within a chunk of so many tokens: ceil(log2 C)."""
  return (count - 1).bit_length()


def aligned(length: int, chunk: int) -> int:
  """Returns how many tokens of a document are in chunks that are blocks.

  None where there is one chunk: its state would have no level.
  """
  if length <= chunk or chunk != 1 << bits(chunk):
    return 0
  return length // chunk * chunk


def token(
    state: State, x: calls.Tokens, precision: lax.Precision
) -> tuple[State, jax.Array]:
  """One token of (1), T = 1: the state after it and its output `[L, R, V]`.

  Any number of axes may stand for L.
  """
  product = functools.partial(jnp.einsum, precision=precision)
  S, seen = state.S, state.position
  position = x.position[..., 0]
  end = position + 1
  if x.ids is not None:
    goes_on = state.segment == x.ids[..., 0]
    S = jnp.where(goes_on[..., None, None, None], S, 0)
    seen = jnp.where(goes_on, seen, 0)
  if x.log_decay is not None:
    S = S * jnp.exp(x.log_decay)[..., None, None]
  out = _read(S, x.q, x.weights[..., 1:], product)
  out += x.weights[..., :1] * (x.q * x.k).sum(axis=-1, keepdims=True) * x.v
  new = product("...tk,...tv->...kv", x.k, x.v)
  S = _merge(S, _bits(seen ^ end))
  S += _at(S, _bits(position ^ end), new)
  segment = state.segment if x.ids is None else x.ids[..., 0]
  return State(S, end, segment), _within(out, x.position, x.weights)


def _chunk(
    state: State,
    x: calls.Tokens,
    precision: lax.Precision,
    *,
    inner: int,
    anywhere: bool,
) -> tuple[State, jax.Array]:
  """Runs the C tokens of a chunk.

  Args:
    state: before them; without its first c levels unless `anywhere`.
    x: the tokens.
    precision: of the products.
    inner: c.
    anywhere: whether the chunk may begin within a block.
  """
  product = functools.partial(jnp.einsum, precision=precision)
  view = chunks.View(x, state.segment, product)
  count, t = x.weights.shape[-1], x.position
  place = t if anywhere else jnp.arange(t.shape[1])[None]
  level = _bits(place[:, :, None] ^ place[:, None, :])
  within = _chosen(x.weights, level, count if anywhere else inner + 1)
  out = view.apply(view.pairs(x.q, x.k) * within, x.v)
  # Blocks of less than 2^c tokens, which are merged when a chunk ends one.
  short = min(inner, count - 1) if anywhere else 0
  weights = x.weights[..., count - state.S.shape[1] :]
  if anywhere:
    first = state.position[:, None] >> jnp.arange(1, count)
    first <<= jnp.arange(1, count)
    # What is a block for the state is within a longer one for later queries.
    level = _bits(t[:, :, None] ^ first[:, None])
    weights = _chosen(x.weights, level, count)
  rows = view.rows(x.q)
  # Apart, so that longer blocks add up alike with the shorter ones and without.
  for part in (slice(short, None), slice(short)):
    read = _read(state.S[:, part], rows, weights[..., part], product)
    out += decays.choose(view.seen(), read)
  S = _written(state, x, view, short, inner, product)
  segment = state.segment if x.ids is None else x.ids[:, -1]
  out = _within(out, t, x.weights)
  return State(S, t[:, -1] + 1, segment), out


def _written(
    state: State,
    x: calls.Tokens,
    view: chunks.View,
    short: int,
    inner: int,
    product: Callable,
) -> jax.Array:
  """Returns the sums after a chunk, of the levels that the state has.

  Args:
    state: before the chunk.
    x: its tokens.
    view: of the tokens.
    short: levels up to c that the state has.
    inner: c.
    product: `einsum` of some precision.
  """
  end = x.position[:, -1] + 1
  S, stays, keep = state.S, view.stays(), view.keep()
  lowest = x.weights.shape[-1] - S.shape[1]
  if stays is not None:
    S = jnp.where(stays[:, None], S, 0)
  if keep is not None:
    S = S * keep[:, None]
  S = _merge(S, _bits(state.position ^ end), lowest)
  # Tokens since the last multiple of 2^c are in short blocks, the others all in
  # one.
  columns = view.columns(x.k)
  level = _bits(x.position ^ end[:, None])[..., None]
  far = jnp.where(level > inner, columns, 0) if short else columns
  turn = end >> inner
  longer = _bits((turn - 1) ^ turn) + inner
  S += _at(S, longer, product("lsk,lsv->lkv", far, x.v), lowest)
  if not short:
    return S
  own = level == jnp.arange(1, short + 1)
  near = jnp.where(own[..., None], columns[:, :, None], 0)
  near = near.reshape(*columns.shape[:2], -1)
  new = product("lsm,lsv->lmv", near, x.v)
  new = new.reshape(-1, short, *S.shape[2:])
  return jnp.concatenate([S[:, :short] + new, S[:, short:]], axis=1)


def _read(
    S: jax.Array, rows: jax.Array, weights: jax.Array, product: Callable
) -> jax.Array:
  """Returns sum_j w[t, j] S_j^T q_t.

  Args:
    S: `[..., J, K, V]`.
    rows: q, `[..., R T, K]`.
    weights: w, `[..., R T, J]`.
    product: `einsum` of some precision.
  """
  rows = weights[..., None] * rows[..., None, :]
  rows = rows.reshape(*rows.shape[:-2], -1)
  S = S.reshape(*S.shape[:-3], -1, S.shape[-1])
  return product("...tm,...mv->...tv", rows, S)


def _merge(S: jax.Array, most: jax.Array, lowest: int = 1) -> jax.Array:
  """Adds up the levels until `most` there; S is of `lowest` and on."""
  level = jnp.arange(S.shape[-3]) + lowest
  upto = (level <= most[..., None])[..., None, None]
  merged = jnp.where(upto, S, 0).sum(axis=-3)
  return jnp.where(upto, 0, S) + _at(S, most, merged, lowest)


def _at(
    S: jax.Array, place: jax.Array, new: jax.Array, lowest: int = 1
) -> jax.Array:
  """Returns zeros like S, `[..., J, K, V]`, but for `new` at a level."""
  level = jnp.arange(S.shape[-3]) + lowest
  here = (level == place[..., None])[..., None, None]
  return jnp.where(here, new[..., None, :, :], 0)


def _bits(x: jax.Array) -> jax.Array:
  """Returns the number of bits of integers, 0 for 0."""
  return 32 - lax.clz(x.astype(jnp.int32))


def _chosen(weights: jax.Array, level: jax.Array, count: int) -> jax.Array:
  """Returns the weights of levels.

  Args:
    weights: `[L, R T, N + 1]`.
    level: `[L or 1, T, S]`, each less than `count`.
    count: how many levels there may be; a choice a level is quicker than an
      index each.
  """
  level = decays.tile(level, weights.shape[1])
  chosen = jnp.broadcast_to(
      weights[..., :1], (*weights.shape[:2], level.shape[2])
  )
  for i in range(1, count):
    chosen = jnp.where(level == i, weights[..., i : i + 1], chosen)
  return chosen


def _within(
    out: jax.Array, position: jax.Array, weights: jax.Array
) -> jax.Array:
  """Poisons what has no level: better NaN than wrong."""
  beyond = _bits(position)[..., None] >= weights.shape[-1]
  return jnp.where(decays.tile(beyond, out.shape[-2]), jnp.nan, out)


def _prepare(
    q, k, v, weights, log_decay, scale, segment_ids, state, causal=True
) -> tuple[calls.Call, State, calls.Tokens]:
  """Checks the call; returns what the forms of `calls` take."""
  sizes = shapes.check_qkv(q, k, v)
  shapes.check_array("weights", weights, "BTHN")
  batch, length, groups = sizes["B"], sizes["T"], sizes["G"]
  count = weights.shape[-1]
  least = 2 if state is not None else levels(length)
  if count < least:
    raise ValueError(
        f"weights: expected {least} levels or more for {length} tokens, got"
        f" {count}"
    )
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
  block = state.position[..., None] >> jnp.arange(count - 1) & 1 == 1
  state = state._replace(S=jnp.where(block[..., None, None], state.S, 0))
  position = jnp.arange(length, dtype=jnp.int32) + state.position[:, :1]
  if x.ids is not None:
    own = jnp.arange(length, dtype=jnp.int32) - masks.first_of_document(x.ids)
    goes_on = x.ids == state.segment[:, None]
    position = jnp.where(goes_on, position, own)
  position = jnp.broadcast_to(position[..., None], (batch, length, groups))
  return call, state, x._replace(position=position)
