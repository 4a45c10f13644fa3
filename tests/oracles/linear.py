"""Linear attention in NumPy float64, one token at a time.

Katharopoulos et al. 2020, "Transformers are RNNs", eqs. (4), (9) to (12):

  S_t = S_{t-1} + phi(k_t) v_t^T        z_t = z_{t-1} + phi(k_t)
  o_t = S_t^T phi(q_t) / (phi(q_t) . z_t)         (normalised)
  o_t = S_t^T phi(q_t)                            (unnormalised)

`scale` multiplies phi(q) . phi(k): it cancels in the normalised form. A new
segment id starts from S = 0, z = 0. A full (not causal) row sees the sums of
its whole segment. A zero normaliser gives exactly zero. Key/value head of
query head h is h // (H / Hk).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.oracles import features
from tests.oracles import softmax

Array = NDArray[np.float64]
Past = softmax.Past


class State(NamedTuple):
  """S `[B, Hk, F, V]`, z `[B, Hk, F]` and the last segment ids `[B]`."""

  S: Array
  z: Array
  segment_id: NDArray[np.int64] | None = None


class Result(NamedTuple):
  """Outputs `[B, T, H, V]` and the state after the last token."""

  out: Array
  state: State


def _read(S: Array, z: Array, phi_q: Array, normalize: bool, scale: float):
  """One row of every head: S `[Hk, F, V]`, phi_q `[H, F]` -> `[H, V]`."""
  heads, group = phi_q.shape[0], phi_q.shape[0] // S.shape[0]
  out = np.zeros((heads, S.shape[-1]))
  for h in range(heads):
    numerator = scale * (S[h // group].T @ phi_q[h])
    if not normalize:
      out[h] = numerator
      continue
    normaliser = scale * (phi_q[h] @ z[h // group])
    if normaliser != 0:
      out[h] = numerator / normaliser
  return out


def _one(phi_q, phi_k, v, S, z, *, resets, causal, normalize, scale):
  """One sequence: resets[t] says whether token t begins a new segment."""
  length, keys = len(phi_q), len(phi_k)
  out = np.zeros((length, phi_q.shape[1], v.shape[-1]))
  if not causal:
    sums, start = [], 0
    for t in range(keys):
      if resets[t]:
        sums += [(S, z)] * (t - start)
        start, S, z = t, np.zeros_like(S), np.zeros_like(z)
      S = S + phi_k[t][:, :, None] * v[t][:, None, :]
      z = z + phi_k[t]
    # Queries beyond the keys (T > S, never packed) see the same full sums.
    sums += [(S, z)] * (max(length, keys) - start)
    for t in range(length):
      out[t] = _read(*sums[t], phi_q[t], normalize, scale)
    return out, S, z
  for t in range(length):
    if resets[t]:
      S, z = np.zeros_like(S), np.zeros_like(z)
    S = S + phi_k[t][:, :, None] * v[t][:, None, :]
    z = z + phi_k[t]
    out[t] = _read(S, z, phi_q[t], normalize, scale)
  return out, S, z


def _resets(segment_ids, before, batch, keys):
  """`[B, S]`: token t begins another segment than the token before it."""
  if segment_ids is None:
    return np.zeros((batch, keys), bool)
  ids = np.broadcast_to(np.asarray(segment_ids), (batch, keys))
  first = ids[:, 0] if before is None else np.asarray(before)
  return np.diff(ids, axis=1, prepend=first[:, None]) != 0


def scan(
    q: Array,
    k: Array,
    v: Array,
    *,
    feature_map: Callable[[Array], Array] = features.elu_plus_one,
    normalize: bool = True,
    causal: bool = True,
    scale: float | None = None,
    segment_ids: NDArray[np.int64] | None = None,
    state: State | None = None,
) -> Result:
  """Linear attention of q `[B, T, H, K]`, k `[B, S, Hk, K]`, v.

  Args:
    q: queries.
    k: keys, of which the heads Hk divide H.
    v: values `[B, S, Hk, V]`.
    feature_map: `[..., K]` to `[..., F]`.
    normalize: divide by phi(q_t) . z_t.
    causal: row t sees tokens up to t, else all of its segment.
    scale: multiplies phi(q) . phi(k); 1 when None.
    segment_ids: `[B, T]`, non-decreasing.
    state: sums of earlier tokens.
  """
  phi_q, phi_k = feature_map(q), feature_map(k)
  v = np.asarray(v, np.float64)
  batch, keys, heads, width = phi_k.shape
  if state is None:
    zero = np.zeros((batch, heads, width))
    state = State(zero[..., None] * np.zeros(v.shape[-1]), zero)
  resets = _resets(segment_ids, state.segment_id, batch, keys)
  scale = 1.0 if scale is None else scale
  rows = [
    _one(
      phi_q[b], phi_k[b], v[b], state.S[b], state.z[b], resets=resets[b],
      causal=causal, normalize=normalize, scale=scale,
    )
    for b in range(batch)
  ]  # fmt: skip
  out, S, z = (np.stack(parts) for parts in zip(*rows, strict=True))
  last = state.segment_id
  if segment_ids is not None:
    last = np.broadcast_to(np.asarray(segment_ids), (batch, keys))[:, -1]
  return Result(out, State(S, z, last))


def attention(q: Array, k: Array, v: Array, *, past=None, **arguments) -> Array:
  """Outputs of `scan`, the state being what the tokens of `past` leave."""
  state = None
  if past is not None:
    kept = {key: arguments[key] for key in ("feature_map",) if key in arguments}
    group = q.shape[2] // past.k.shape[2]
    blank = np.repeat(np.zeros_like(past.k), group, axis=2)
    state = scan(
        blank, past.k, past.v, segment_ids=past.segment_ids, **kept
    ).state
  return scan(q, k, v, state=state, **arguments).out


def weights(
    q: Array,
    k: Array,
    *,
    feature_map: Callable[[Array], Array] = features.elu_plus_one,
    normalize: bool = True,
    causal: bool = True,
    scale: float | None = None,
    segment_ids: NDArray[np.int64] | None = None,
) -> Array:
  """The matrix `[B, H, T, S]` that linear attention applies to v.

  Column j is the output for the value e_j at token j alone.
  """
  batch, keys, heads, _ = k.shape
  basis = np.broadcast_to(
      np.eye(keys)[None, :, None, :], (batch, keys, heads, keys)
  )
  out = scan(
    q, k, basis, feature_map=feature_map, normalize=normalize, causal=causal,
    scale=scale, segment_ids=segment_ids,
  ).out  # fmt: skip
  return out.transpose(0, 2, 1, 3)
