"""Attention whose state decays: the diagonal transitions.

    S_t = Diag(a_t) S_{t-1} + k_t v_t^T,   o_t = scale S_t^T q_t          (1)

a_t = exp(log_decay_t) is a number a head (RetNet, Lightning), a number a token
(Mamba-2) or a vector a token (GLA, HGRN2). With a bonus u (RWKV-6) the state is
read before the token, and the token beside it:

    o_t = scale (S_{t-1} + Diag(u) k_t v_t^T)^T q_t                       (2)

| form      | products (a head)             | beyond inputs           |
|-----------|-------------------------------|-------------------------|
| recurrent | 4 T K V                       | T V, grads T / M states |
| chunkwise | 2 T (C K + C V + 2 K V)       | T V, grads T / M states |
| step      | 4 K V a token                 | K V                     |

A chunk is M tokens, in blocks of C. Scalar decays add C^2 to the bracket; with
vector decays a pair below the diagonal is made once, K (C - 1) / 2 in place of
C K (`gated_costs`).

Sources: Sun et al. 2023 (arXiv 2307.08621), Qin et al. 2024 (2401.04658), Dao
and Gu 2024 (2405.21060), Yang et al. 2023 (2312.06635), Qin et al. 2024
(2404.07904), Peng et al. 2024 (2404.05892).
"""

import functools

import jax

from lalm import shapes
from lalm.attention import calls
from lalm.attention import chunks
from lalm.attention import contract
from lalm.attention import transitions

State = calls.State
init = calls.init


@contract.form
def recurrent(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    log_decay: jax.Array,
    bonus: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
) -> contract.Result:
  """Returns (1), or (2), token by token: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, T, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, T, G, V]`.
    causal: True; there is no full form.
    log_decay: log a_t, at most 0: `[G]`, `[B, T, G]` or `[B, T, G, K]`. A
      number above 0 lets the state grow.
    bonus: u `[G, K]`.
    scale: multiplies the output, 1 if None.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: the sum over earlier tokens.

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: a rank, dtype or axis the contract excludes, or causal=False.
  """
  call = _prepare(q, k, v, log_decay, bonus, scale, segment_ids, state, causal)
  return calls.recurrent(transitions.token, *call)


@contract.form
def chunkwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    log_decay: jax.Array,
    bonus: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1), or (2), chunk by chunk.

  Arguments, result and errors as in `recurrent`.

  Args:
    chunk: tokens a chunk, 128 if None: what a gradient makes again at once.
      Blocks of 32 of them are made by products; other lengths are one block.
  """
  call = _prepare(q, k, v, log_decay, bonus, scale, segment_ids, state, causal)
  size = chunks.sizes(q.shape[1], chunk, solved=False)
  body = functools.partial(chunks.chunk, block=size.block)
  return calls.chunkwise(body, *call, chunk=size.chunk)


@contract.form
def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    log_decay: jax.Array,
    bonus: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
) -> contract.Result:
  """Returns (1), or (2), for one more token, T = 1.

  Arguments, result and errors as in `recurrent`.
  """
  shapes.check_one_token(q, k)
  call = _prepare(q, k, v, log_decay, bonus, scale, segment_ids, state)
  return calls.step(transitions.token, *call)


def _prepare(
    q, k, v, log_decay, bonus, scale, segment_ids, state, causal=True
) -> tuple[calls.Call, State, calls.Tokens]:
  """Checks the call; returns what the forms of `calls` take."""
  if log_decay is None:  # which only `delta` may do without
    raise ValueError("log_decay: expected an array, got None")
  return calls.prepare(
      q,
      k,
      v,
      log_decay=log_decay,
      bonus=bonus,
      scale=scale,
      segment_ids=segment_ids,
      state=state,
      causal=causal,
  )
