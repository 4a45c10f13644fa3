"""The delta rule: transitions that are the identity plus a rank of one.

    S_t = (I - beta_t k_t k_t^T) D_t S_{t-1} + beta_t k_t v_t^T,
    o_t = scale S_t^T q_t                                                 (1)

where q and k stand for phi(q) and phi(k), of unit length by default: what the
state holds for k_t is replaced by v_t, wholly where beta_t = 1. D_t is 1
(DeltaNet), a decay exp(log_decay_t) a token (Gated DeltaNet) or a vector
(KDA), `[B, T, G, F]` where a feature map makes F of K.

| form      | products (a head)                     | beyond inputs           |
|-----------|---------------------------------------|-------------------------|
| recurrent | 6 T K V                               | T V, grads T / C states |
| chunkwise | 2 T (2 C K + 2 C V + 3 K V + 2 m C^2) | T V, grads T / C states |
| step      | 6 K V a token                         | K V                     |

m = ceil(log2 C) - 1 steps solve the system of a chunk. Scalar decays add C^2 to
the bracket; with vector decays a pair below the diagonal is made once, K (C -
1) / 2 in place of each C K (`gated_costs`).

Sources: Schlag et al. 2021 (arXiv 2102.11174), Yang et al. 2024 (2406.06484 and
2412.06464), Kimi Team 2025 (2510.26692).
"""

from typing import Any

import jax

from lalm import shapes
from lalm.attention import calls
from lalm.attention import contract
from lalm.attention import features
from lalm.attention import transitions

CHUNK = calls.CHUNK
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
    v: values `[B, T, G, V]`.
    causal: True; there is no full form.
    beta: `[B, T, G]`, in [0, 1] for a step that does not overshoot.
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
  return calls.recurrent(transitions.token, *call)


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
    chunk: int = CHUNK,
) -> contract.Result:
  """Returns (1) chunk by chunk.

  Arguments, result and errors as in `recurrent`.

  Args:
    chunk: C, tokens a chunk. Longer ones do more products within, fewer
      between.
  """
  shapes.check_positive("chunk", chunk)
  call = _prepare(
      q, k, v, beta, log_decay, scale, segment_ids, state, feature_map, causal
  )
  return calls.chunkwise(transitions.chunk, *call, chunk=chunk)


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
  return calls.step(transitions.token, *call)


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
  sizes = shapes.check_qkv(q, k, v)
  shapes.check_gate("beta", beta, sizes, ("BTG",))
  count = features.feature_width(feature_map, sizes["K"])

  def inside(x: calls.Tokens) -> calls.Tokens:
    phi = lambda y: feature_map(y).astype(y.dtype)
    return x._replace(q=phi(x.q), k=phi(x.k))

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
  )
