"""The matrix memory of xLSTM (mLSTM, Beck et al. 2024, arXiv 2405.04517).

    C_t = f_t C_{t-1} + i_t k_t v_t^T,   n_t = f_t n_{t-1} + i_t k_t,
    o_t = C_t^T q_t / max(|n_t . q_t|, 1)                                 (1)

with f_t = exp(log_decay_t) and an input gate i_t = exp(log_input_t) of any
size, so that sums are kept divided by exp(m_t), for

    m_t = max(0, m_{t-1} + log_decay_t, log_input_t)                      (2)

(equations 19 to 27 there, where m_t may be negative: at least 0, it keeps the
floor of 1 from overflowing). The scale multiplies q.

| form      | products (a head)                | beyond inputs      |
|-----------|----------------------------------|--------------------|
| recurrent | 4 T K V                          | T V + T / C states |
| chunkwise | 2 T (C K + C V + 2 K V + C^2)    | T V + T / C states |
| step      | 4 K V a token                    | K V                |
"""

import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import calls
from lalm.attention import contract
from lalm.attention import decays

CHUNK = calls.CHUNK


class State(NamedTuple):
  """`S` = C / exp(m) `[B, G, K, V]`, `z` = n / exp(m) `[B, G, K]`, m `[B, G]`.

  They are of the last document so far, whose id is `segment` `[B]`. Within the
  forms there is a lane where B and G stand.
  """

  S: jax.Array
  z: jax.Array
  m: jax.Array
  segment: jax.Array


def init(
    batch: int,
    heads: int,
    width: int,
    value_width: int,
    *,
    capacity: int | None = None,
    dtype: Any = jnp.float32,
) -> State:
  """Returns the state before the first token; arguments as in `calls.init`."""
  S, segment = calls.init(
      batch, heads, width, value_width, capacity=capacity, dtype=dtype
  )
  return State(S, S[..., 0], S[..., 0, 0], segment)


def _token(
    state: State, x: calls.Tokens, precision: lax.Precision
) -> tuple[State, jax.Array]:
  """One token of (1): the state after it and its output `[L, R, V]`.

  As in `transitions.token`, any number of axes may stand for L.
  """
  product = functools.partial(jnp.einsum, precision=precision)
  S, z, m, segment = state
  if x.ids is not None:
    goes_on = segment == x.ids[..., 0]
    segment = x.ids[..., 0]
    S = jnp.where(goes_on[..., None, None], S, 0)
    z = jnp.where(goes_on[..., None], z, 0)
    m = jnp.where(goes_on, m, 0)
  log_f, log_i = m + x.log_decay[..., 0], x.log_input[..., 0]
  m = lax.stop_gradient(jnp.maximum(0, jnp.maximum(log_f, log_i)))
  f, i = jnp.exp(log_f - m), jnp.exp(log_i - m)
  k = x.k * i[..., None, None]
  S = S * f[..., None, None] + product("...tk,...tv->...kv", k, x.v)
  z = z * f[..., None] + k[..., 0, :]
  num = product("...rk,...kv->...rv", x.q, S)
  den = product("...rk,...k->...r", x.q, z)
  return State(S, z, m, segment), _divide(num, den, m[..., None])


def _chunk(
    state: State, x: calls.Tokens, precision: lax.Precision
) -> tuple[State, jax.Array]:
  """T tokens of (1): the state after them and their outputs `[L, R T, V]`."""
  product = functools.partial(jnp.einsum, precision=precision)
  S, z, m, segment = state
  start, between = decays.cumulative(x.log_decay)
  goes_on = None
  logs = between[:, 1:] + x.log_input[:, None]
  length = x.k.shape[1]
  seen = jnp.tril(jnp.ones((length, length), bool))
  held = start[:, 1:] + m[:, None]
  if x.ids is not None:
    seen &= x.ids[:, :, None] == x.ids[:, None, :]
    goes_on = (x.ids == segment[:, None])[..., None]
    held = jnp.where(goes_on[..., 0], held, -jnp.inf)
    segment = x.ids[:, -1]
  logs = jnp.where(seen, logs, -jnp.inf)
  m = jnp.maximum(0, jnp.maximum(held, logs.max(axis=-1)))
  m = lax.stop_gradient(m)
  W = jnp.exp(logs - m[..., None])
  held = jnp.exp(held - m)
  rows = x.q.shape[1]
  scores = product("ltk,lsk->lts", x.q, x.k)
  scores = jnp.where(decays.tile(seen, rows), scores, 0) * decays.tile(W, rows)
  q = decays.choose(goes_on, x.q * decays.tile(held[..., None], rows))
  num = decays.choose(goes_on, product("ltk,lkv->ltv", q, S))
  num += product("lts,lsv->ltv", scores, x.v)
  den = decays.choose(goes_on, product("ltk,lk->lt", q, z)[..., None])[..., 0]
  den += scores.sum(axis=-1)
  out = _divide(num, den, decays.tile(m[..., None], rows)[..., 0])
  last = held[:, -1]
  if goes_on is not None:
    S = jnp.where(goes_on[:, -1:], S, 0)
    z = jnp.where(goes_on[:, -1], z, 0)
  k = x.k * W[:, -1, :, None]
  S = S * last[:, None, None] + product("lsk,lsv->lkv", k, x.v)
  # A product: XLA rounds a sum in as many ways as it finds to fuse it.
  z = z * last[:, None] + product("lsk,ls->lk", x.k, W[:, -1])
  return State(S, z, m[:, -1], segment), out


def _divide(num: jax.Array, den: jax.Array, m: jax.Array) -> jax.Array:
  """Returns o of (1) from sums divided by exp(m)."""
  den = jnp.maximum(jnp.abs(den), jnp.exp(-m))
  return contract.divide(num, den[..., None])


@contract.form
def recurrent(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    log_decay: jax.Array,
    log_input: jax.Array,
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
    log_decay: of the forget gate, `[B, T, G]`, at most 0. A number above 0 lets
      the state grow.
    log_input: of the input gate, `[B, T, G]`, any number.
    scale: multiplies q, 1 if None.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: the sums over earlier tokens.

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: a rank, dtype or axis the contract excludes, or causal=False.
  """
  call = _prepare(
      q, k, v, log_decay, log_input, scale, segment_ids, state, causal
  )
  return calls.recurrent(_token, *call)


@contract.form
def chunkwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    log_decay: jax.Array,
    log_input: jax.Array,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) chunk by chunk.

  Arguments, result and errors as in `recurrent`.

  Args:
    chunk: C, tokens a chunk, 32 if None. Longer ones do more products within,
      fewer between.
  """
  chunk = CHUNK if chunk is None else chunk
  shapes.check_positive("chunk", chunk)
  call = _prepare(
      q, k, v, log_decay, log_input, scale, segment_ids, state, causal
  )
  return calls.chunkwise(_chunk, *call, chunk=min(chunk, q.shape[1]))


@contract.form
def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    log_decay: jax.Array,
    log_input: jax.Array,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
) -> contract.Result:
  """Returns (1) for one more token, T = 1.

  Arguments, result and errors as in `recurrent`.
  """
  shapes.check_one_token(q, k)
  call = _prepare(q, k, v, log_decay, log_input, scale, segment_ids, state)
  return calls.step(_token, *call)


def _prepare(
    q, k, v, log_decay, log_input, scale, segment_ids, state, causal=True
) -> tuple[calls.Call, Any, calls.Tokens]:
  """Checks the call; returns what the forms of `calls` take."""
  sizes = shapes.check_qkv(q, k, v)
  shapes.check_gate("log_decay", log_decay, sizes, ("BTG",))
  shapes.check_gate("log_input", log_input, sizes, ("BTG",))
  shapes.check_scalar("scale", scale)

  def inside(x: calls.Tokens) -> calls.Tokens:
    return x if scale is None else x._replace(q=x.q * scale)

  return calls.prepare(
      q,
      k,
      v,
      log_decay=log_decay,
      log_input=log_input,
      inside=inside,
      start=init,
      scale=None,
      segment_ids=segment_ids,
      state=state,
      causal=causal,
  )
