"""Linear-time attention as its papers define it: one token at a time, float64.

q is `[B, T, H, K]`, k `[B, T, G, K]`, v `[B, T, G, V]`; query head h reads key
head h // (H / G). A state S `[F, V]` belongs to a batch row and a key head,
and starts from zero or from `state`. The papers' states are often the
transposes of these. Every mechanism is called as

  function(q, k, v, *, scale=None, segment_ids=None, state=None, **gates)

and returns the outputs with the state after the last token. `scale` (1 when
None) multiplies the queries. A token whose segment id differs from that of the
token before it, which `state` remembers, starts from the zero state.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tests.oracles import features
from tests.oracles import maps
from tests.oracles.token_scan import Result, State, scan

Array = NDArray[np.float64]
Map = Callable[[Array], Array]


def _decay_step(S, k, v, a):
  """Diag(a) S + k v^T."""
  S = a[:, None] * S + np.outer(k, v)
  return S, S


def _delta_step(S, k, v, beta, a):
  """(I - beta k k^T) Diag(a) S + beta k v^T."""
  erase = np.eye(len(k)) - beta * np.outer(k, k)
  S = erase @ (a[:, None] * S) + beta * np.outer(k, v)
  return S, S


def _decays(log_decay, k):
  """exp of `[G]`, `[B, T, G]` or `[B, T, G, K]`, broadcast to k's shape."""
  log_decay = np.asarray(log_decay, np.float64)
  if log_decay.ndim < 4:
    log_decay = log_decay[..., None]
  return np.exp(np.broadcast_to(log_decay, k.shape))


def mamba2(q: Array, k: Array, v: Array, *, log_decay: Array, **call) -> Result:
  """S_t = a_t S_{t-1} + k_t v_t^T, o_t = S_t^T q_t; `log_decay` `[B, T, G]`.

  Dao and Gu 2024 (arXiv 2405.21060), eq. (2) with A_t = a_t I, B = k, C = q
  and v the input already multiplied by its step size.
  """
  return scan(_decay_step, q, k, v, _decays(log_decay, k), **call)


def retnet(
    q: Array, k: Array, v: Array, *, log_decay: Array | None = None, **call
) -> Result:
  """S_t = gamma S_{t-1} + k_t v_t^T, o_t = S_t^T q_t; `log_decay` `[G]`.

  Sun et al. 2023 (arXiv 2307.08621), eq. (6); the default decay of head g is
  1 - 2^(-5 - g), eq. (8).
  """
  if log_decay is None:
    log_decay = np.log1p(-(2.0 ** (-5 - np.arange(k.shape[2]))))
  return mamba2(q, k, v, log_decay=log_decay, **call)


def lightning(
    q: Array, k: Array, v: Array, *, log_decay: Array | None = None, **call
) -> Result:
  """S_t = lambda S_{t-1} + k_t v_t^T, o_t = S_t^T q_t; `log_decay` `[G]`.

  Qin et al. 2024 (arXiv 2401.04658); the default log decay of head g of G is
  -2^(-8 (g + 1) / G), the slopes of the authors' code for a power of two.
  """
  if log_decay is None:
    heads = k.shape[2]
    log_decay = -(2.0 ** (-8 * (np.arange(heads) + 1) / heads))
  return mamba2(q, k, v, log_decay=log_decay, **call)


def mlstm(
    q: Array, k: Array, v: Array, *, log_decay: Array, log_input: Array, **call
) -> Result:
  """o_t = C_t^T q_t / max(|n_t . q_t|, 1), the matrix memory of xLSTM.

  C_t = f C_{t-1} + i k v^T and n_t = f n_{t-1} + i k: Beck et al. 2024 (arXiv
  2405.04517), eqs. (19) to (21), f and i being exp of `log_decay` and
  `log_input` `[B, T, G]`, with no stabiliser and no output gate. n is one more
  column of C, of which the value is always 1.
  """

  def step(S, k, v, f, i):
    S = f * S + i * np.outer(k, v)
    return S, S

  def read(R, q):
    y = R.T @ q
    return y / max(abs(y[-1]), 1.0)

  v = np.concatenate([v, np.ones_like(v[..., :1])], axis=-1)
  past = call.pop("state", None)
  if past is not None:
    past = past._replace(S=np.concatenate([past.S, past.z[..., None]], -1))
  gates = (np.exp(np.asarray(x, np.float64)) for x in (log_decay, log_input))
  out, state = scan(step, q, k, v, *gates, read=read, state=past, **call)
  S, z = state.S[..., :-1], state.S[..., -1]
  return Result(out[..., :-1], State(S, z, state.segment_id))


def gla(q: Array, k: Array, v: Array, *, log_decay: Array, **call) -> Result:
  """S_t = Diag(a_t) S_{t-1} + k_t v_t^T, o_t = S_t^T q_t.

  Yang et al. 2023 (arXiv 2312.06635), eq. (3); `log_decay` `[B, T, G, K]`.
  """
  return scan(_decay_step, q, k, v, _decays(log_decay, k), **call)


def hgrn2(q: Array, k: Array, v: Array, **call) -> Result:
  """S_t = Diag(f_t) S_{t-1} + (1 - f_t) v_t^T, o_t = S_t^T q_t, f = sigmoid(k).

  Qin et al. 2024 (arXiv 2404.07904): the input gate is tied to the forget
  gate, of which k holds the logits. No lower bound is put on the gate.
  """
  k = np.asarray(k, np.float64)
  return scan(_decay_step, q, expit(-k), v, expit(k), **call)


def rwkv6(
    q: Array, k: Array, v: Array, *, log_decay: Array, bonus: Array, **call
) -> Result:
  """o_t = (S_{t-1} + Diag(u) k_t v_t^T)^T q_t, S_t = Diag(a_t) S_{t-1} + k v^T.

  Peng et al. 2024 (arXiv 2404.05892), eqs. (19), (21) and (22); `log_decay`
  is `[B, T, G, K]`, the bonus u `[G, K]`.
  """

  def step(S, k, v, a, u):
    write = np.outer(k, v)
    return a[:, None] * S + write, S + u[:, None] * write

  u = np.broadcast_to(bonus, k.shape)
  return scan(step, q, k, v, _decays(log_decay, k), u, **call)


def kda(
    q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array,
    feature_map: Map = maps.unit, **call,
) -> Result:  # fmt: skip
  """S_t = (I - b k k^T) Diag(a_t) S_{t-1} + b k v^T, o_t = S_t^T q_t.

  Kimi Linear 2025 (arXiv 2510.26692), eq. (1); beta is `[B, T, G]`,
  `log_decay` `[B, T, G, F]`.
  """
  q, k = feature_map(q), feature_map(k)
  return scan(_delta_step, q, k, v, beta, _decays(log_decay, k), **call)


def gated_deltanet(
    q: Array, k: Array, v: Array, *, beta: Array, log_decay: Array, **call
) -> Result:
  """S_t = a_t (I - b k k^T) S_{t-1} + b k v^T; `log_decay` is `[B, T, G]`.

  Yang et al. 2024 (arXiv 2412.06464), eq. (10) of the published version.
  """
  return kda(q, k, v, beta=beta, log_decay=log_decay, **call)


def deltanet(q: Array, k: Array, v: Array, *, beta: Array, **call) -> Result:
  """S_t = (I - b k k^T) S_{t-1} + b k v^T, o_t = S_t^T q_t; beta `[B, T, G]`.

  Schlag et al. 2021 (arXiv 2102.11174), eqs. (24) and (25); with keys of unit
  length as in section 2.2 of Yang et al. 2024 (arXiv 2406.06484).
  """
  return kda(q, k, v, beta=beta, log_decay=np.zeros_like(beta), **call)


def deltaproduct(
    q: Array, k: Array, v: Array, *, beta: Array,
    feature_map: Map = maps.unit, **call,
) -> Result:  # fmt: skip
  """r delta-rule steps a token, in order, and a reading after the last.

  Siems et al. 2025 (arXiv 2502.10297). k is `[B, T, r, G, K]`, v
  `[B, T, r, G, V]`, beta `[B, T, r, G]`.
  """

  def step(S, k, v, beta):
    for j in range(len(k)):
      S, _ = _delta_step(S, k[j], v[j], beta[j], np.ones(k.shape[-1]))
    return S, S

  writes = (np.moveaxis(x, 2, 3) for x in (feature_map(k), v, beta))
  return scan(step, feature_map(q), *writes, **call)


def rwkv7(
    q: Array, k: Array, v: Array, *, log_decay: Array, removal: Array,
    rate: Array, **call,
) -> Result:  # fmt: skip
  """S_t = Diag(a_t) S_{t-1} - (rate * h)(h^T S_{t-1}) + k v^T, o_t = S_t^T q_t.

  Peng et al. 2025 (arXiv 2503.14456), eq. (17), h being the removal key of
  unit length of eq. (15); the gates are `[B, T, G, K]`.
  """

  def step(S, k, v, a, h, rate):
    S = a[:, None] * S - np.outer(rate * h, h @ S) + np.outer(k, v)
    return S, S

  gates = _decays(log_decay, k), maps.unit(removal), rate
  return scan(step, q, k, v, *gates, **call)


RECURRENCES: dict[str, Callable[..., Result]] = {
    "retnet": retnet,
    "lightning": lightning,
    "mamba2": mamba2,
    "mlstm": mlstm,
    "gla": gla,
    "hgrn2": hgrn2,
    "rwkv6": rwkv6,
    "deltanet": deltanet,
    "gated_deltanet": gated_deltanet,
    "kda": kda,
    "deltaproduct": deltaproduct,
    "rwkv7": rwkv7,
}


def weights(name: str, q: Array, k: Array, **gates) -> Array:
  """The matrix `[B, H, T, N]` that a mechanism applies to the values.

  Column j is the output for the value e_j at the j-th write alone: N = T, or
  T r for the r writes a token of "deltaproduct". `gates` may hold every
  argument of the mechanism but v and `state`.
  """
  writes = k.shape[1:-2]
  count = int(np.prod(writes))
  basis = np.eye(count).reshape(*writes, 1, count)
  v = np.broadcast_to(basis, (*k.shape[:-1], count))
  return RECURRENCES[name](q, k, v, **gates).out.transpose(0, 2, 1, 3)


def block_causal(
    q: Array,
    k: Array,
    v: Array,
    *,
    block: int,
    feature_map: Map = features.elu_plus_one,
    normalize: bool = True,
    scale: float | None = None,
    segment_ids: NDArray[np.int64] | None = None,
) -> Array:
  """Linear attention where a query sees every block up to its own whole.

  Query t sees the tokens s of its segment with s // block <= t // block,
  counted from the first token of the call. A zero normaliser gives zero.
  """
  phi_q, phi_k, v = feature_map(q), feature_map(k), np.asarray(v, np.float64)
  batch, length, heads, _ = phi_q.shape
  group = heads // phi_k.shape[2]
  blocks = np.arange(length) // block
  out = np.zeros((batch, length, heads, v.shape[-1]))
  for b in range(batch):
    seen = blocks[None, :] <= blocks[:, None]
    if segment_ids is not None:
      ids = np.broadcast_to(np.asarray(segment_ids), (batch, length))[b]
      seen = seen & (ids[None, :] == ids[:, None])
    for h in range(heads):
      scores = phi_q[b, :, h] @ phi_k[b, :, h // group].T
      scores = np.where(seen, scores * (1.0 if scale is None else scale), 0.0)
      y = scores @ v[b, :, h // group]
      if normalize:
        z = scores.sum(axis=1, keepdims=True)
        y = np.divide(y, z, out=np.zeros_like(y), where=z != 0)
      out[b, :, h] = y
  return out
