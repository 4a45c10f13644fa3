"""The delta rule: transitions that are the identity plus a rank of one.

    S_t = (I - beta_t k_t k_t^T) D_t S_{t-1} + beta_t k_t v_t^T,
    o_t = scale S_t^T q_t                                                 (1)

where q and k stand for phi(q) and phi(k), of unit length by default: what the
state holds for k_t is replaced by v_t, wholly where beta_t = 1. D_t is 1
(DeltaNet), a decay exp(log_decay_t) a token (Gated DeltaNet) or a vector
(KDA), `[B, T, G, F]` where a feature map makes F of K. A token that writes r
times (DeltaProduct: k, v and beta have an axis r) decays before the first and
is read after the last; in the table T and C are then r times as many.

| form      | products (a head)                     | beyond inputs           |
|-----------|---------------------------------------|-------------------------|
| recurrent | 6 T K V                               | T V, grads T / M states |
| chunkwise | 2 T (2 C K + 2 C V + 3 K V + 2 m C^2) | T V, grads T / M states |
| step      | 6 K V a token                         | K V                     |

A chunk is M tokens, in blocks of C; m = ceil(log2 C) - 1 steps solve the system
of a block. Scalar decays add C^2 to the bracket; with vector decays pairs below
the diagonal are made once, K (C - 1) / 2 in place of each C K (`gated_costs`).

Sources: Schlag et al. 2021 (arXiv 2102.11174), Yang et al. 2024 (2406.06484 and
2412.06464), Siems et al. 2025 (2502.10297), Kimi Team 2025 (2510.26692).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

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
    beta: jax.Array,
    log_decay: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    feature_map: Any = features.unit,
) -> contract.Result:
  """Returns (1) token by token: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, T, G, K]`; G divides H, head h reads key head h // (H / G).
      `[B, T, r, G, K]` where a token writes r times, as v and beta then.
    v: values `[B, T, G, V]` or `[B, T, r, G, V]`.
    causal: True; there is no full form.
    beta: `[B, T, G]` or `[B, T, r, G]`, in [0, 1] for a step that does not
      overshoot, in [0, 2] for one that does not grow.
    log_decay: at most 0: `[G]`, `[B, T, G]` or `[B, T, G, K]`, or None. A
      number above 0 lets the state grow.
    scale: multiplies the output, 1 if None.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: the sum over earlier tokens.
    feature_map: of queries and keys, `[..., K]` to `[..., F]`.

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: a rank, dtype or axis the contract excludes, or causal=False.
  """
  call = _prepare(
      q, k, v, beta, log_decay, scale, segment_ids, state, feature_map, causal
  )
  token = functools.partial(transitions.token, writes=_writes(k))
  return calls.recurrent(token, *call)


@contract.form
def chunkwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    beta: jax.Array,
    log_decay: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    feature_map: Any = features.unit,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) chunk by chunk.

  Arguments, result and errors as in `recurrent`.

  Args:
    chunk: tokens a chunk, 128 writes if None: what a gradient makes again at
      once. Blocks of 16 writes are made by products; a chunk that they do not
      fill is one block.
  """
  call = _prepare(
      q, k, v, beta, log_decay, scale, segment_ids, state, feature_map, causal
  )
  writes = _writes(k)
  size = chunks.sizes(q.shape[1], chunk, solved=True, writes=writes)
  body = functools.partial(chunks.chunk, block=size.block, writes=writes)
  return calls.chunkwise(body, *call, chunk=size.chunk)


@contract.form
def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    beta: jax.Array,
    log_decay: jax.Array | None = None,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    feature_map: Any = features.unit,
) -> contract.Result:
  """Returns (1) for one more token, T = 1.

  Arguments, result and errors as in `recurrent`.
  """
  shapes.check_one_token(q, k)
  call = _prepare(
      q, k, v, beta, log_decay, scale, segment_ids, state, feature_map
  )
  token = functools.partial(transitions.token, writes=_writes(k))
  return calls.step(token, *call)


def _writes(k: jax.Array) -> int:
  """Returns r of keys that have been checked."""
  return k.shape[2] if k.ndim == 5 else 1


def _prepare(
    q,
    k,
    v,
    beta,
    log_decay,
    scale,
    segment_ids,
    state,
    feature_map,
    causal=True,
) -> tuple[calls.Call, Any, calls.Tokens]:
  """Checks the call; returns what the forms of `calls` take."""
  # What most of them say, so that the one that differs is named.
  ranks = [getattr(x, "ndim", None) for x in (k, v, beta)]
  several = sum(rank == one for rank, one in zip(ranks, (5, 5, 4))) > 1
  sizes = shapes.check_qkv(q, k, v, several)
  shapes.check_gate("beta", beta, sizes, ("BTrG" if several else "BTG",))
  count = features.feature_width(feature_map, sizes["K"])

  def inside(x: calls.Tokens) -> calls.Tokens:
    phi = lambda y: feature_map(y).astype(y.dtype)
    x = x._replace(q=phi(x.q), k=phi(x.k))
    if not several:
      return x
    # The writes of a key head stand where query heads would.
    beside = lambda y: jnp.moveaxis(y, 2, 3).reshape(
        *y.shape[:2], -1, *y.shape[4:]
    )
    return x._replace(k=beside(x.k), v=beside(x.v), beta=beside(x.beta))

  return calls.prepare(
      q,
      k,
      v,
      beta=beta,
      log_decay=log_decay,
      features=count,
      inside=inside,
      scale=scale,
      segment_ids=segment_ids,
      state=state,
      causal=causal,
      several=several,
  )
