"""Diagonal plus low rank transitions (RWKV-7, Peng et al. 2025, 2503.14456).

    S_t = (Diag(a_t) - (rate_t * r_t) r_t^T) S_{t-1} + k_t v_t^T,
    o_t = scale S_t^T q_t                                                 (1)

with a_t = exp(log_decay_t) and r_t = removal_t / |removal_t|: the direction r_t
is read from the state and a share of it, of its own for each feature, removed.

| form      | products (a head)                     | beyond inputs           |
|-----------|---------------------------------------|-------------------------|
| recurrent | 8 T K V                               | T V, grads T / M states |
| chunkwise | 2 T (2 C K + 4 C V + 4 K V + 2 m C^2) | T V, grads T / M states |
| step      | 8 K V a token                         | K V                     |

A chunk is M tokens, in blocks of C; m = ceil(log2 C) - 1 steps solve the system
of a block. Each of four kinds of pairs below the diagonal is made once, which
without vector decays would be twice the 2 C K (`gated_costs`).
"""

import functools
from typing import Any

import jax

from lalm import shapes
from lalm.attention import calls
from lalm.attention import chunks
from lalm.attention import contract
from lalm.attention import features
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
    removal: jax.Array,
    rate: jax.Array,
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
    log_decay: log a_t, at most 0: `[G]`, `[B, T, G]` or `[B, T, G, K]`. A
      number above 0 lets the state grow.
    removal: `[B, T, G, K]`, of any length; none is removed where it is 0.
    rate: `[B, T, G, K]`, in [0, 1] for a step that does not overshoot.
    scale: multiplies the output, 1 if None.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: the sum over earlier tokens.

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: a rank, dtype or axis the contract excludes, or causal=False.
  """
  call = _prepare(
      q, k, v, log_decay, removal, rate, scale, segment_ids, state, causal
  )
  return calls.recurrent(transitions.token, *call)


@contract.form
def chunkwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    log_decay: jax.Array,
    removal: jax.Array,
    rate: jax.Array,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) chunk by chunk.

  Arguments, result and errors as in `recurrent`.

  Args:
    chunk: tokens a chunk, 128 if None: what a gradient makes again at once.
      Blocks of 16 of them are made by products; other lengths are one block.
  """
  call = _prepare(
      q, k, v, log_decay, removal, rate, scale, segment_ids, state, causal
  )
  size = chunks.sizes(q.shape[1], chunk, solved=True)
  body = functools.partial(chunks.chunk, block=size.block)
  return calls.chunkwise(body, *call, chunk=size.chunk)


@contract.form
def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    log_decay: jax.Array,
    removal: jax.Array,
    rate: jax.Array,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
) -> contract.Result:
  """Returns (1) for one more token, T = 1.

  Arguments, result and errors as in `recurrent`.
  """
  shapes.check_one_token(q, k)
  call = _prepare(q, k, v, log_decay, removal, rate, scale, segment_ids, state)
  return calls.step(transitions.token, *call)


def _prepare(
    q, k, v, log_decay, removal, rate, scale, segment_ids, state, causal=True
) -> tuple[calls.Call, Any, calls.Tokens]:
  """Checks the call; returns what the forms of `calls` take."""
  sizes = shapes.check_qkv(q, k, v)
  if log_decay is None:
    raise ValueError("log_decay: expected an array, got None")
  shapes.check_gate("removal", removal, sizes, ("BTGK",))
  shapes.check_gate("rate", rate, sizes, ("BTGK",))

  def inside(x: calls.Tokens) -> calls.Tokens:
    read = features.unit(x.read)
    return x._replace(read=read, write=x.write * read)

  return calls.prepare(
      q,
      k,
      v,
      log_decay=log_decay,
      read=removal,
      write=rate,
      inside=inside,
      scale=scale,
      segment_ids=segment_ids,
      state=state,
      causal=causal,
  )
