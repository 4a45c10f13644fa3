"""Softmax attention in NumPy float64, one query row at a time.

Vaswani et al. 2017, "Attention is all you need", eq. (1). Row t of head h is

  o_t = sum_j exp(s_tj) v_j / sum_j exp(s_tj),   s_tj = scale q_t . k_j

over the keys j that query t sees. Key/value head of query head h is
h // (H / Hk). With P cached tokens the keys are the P cached ones followed by
the S new ones; query t of a causal call sees keys 0 .. P + t, of a full call
all. A packed query sees only keys with its own segment id. A row that sees no
key is exactly zero.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Past(NamedTuple):
  """Tokens seen before the call: k `[B, P, Hk, K]`, v, segment ids or None."""

  k: Array
  v: Array
  segment_ids: NDArray[np.int64] | None = None


def visible(
    rows: NDArray[np.int64],
    keys: int,
    *,
    causal: bool,
    past: int = 0,
    query_ids: NDArray[np.int64] | None = None,
    key_ids: NDArray[np.int64] | None = None,
    window: int | None = None,
) -> NDArray[np.bool_]:
  """`[B or 1, len(rows), keys]`: whether a query row sees a key."""
  seen = np.ones((1, len(rows), keys), bool)
  if causal:
    seen &= np.arange(keys) <= past + rows[:, None]
  if window is not None:
    seen &= np.abs(np.arange(keys) - past - rows[:, None]) < window
  if query_ids is not None and key_ids is not None:
    seen = seen & (query_ids[:, rows, None] == key_ids[:, None, :])
  return seen


def _ids(segment_ids, past, batch, keys):
  """Segment ids of queries and of all keys; None where nothing is packed."""
  if segment_ids is None:
    return None, None
  own = np.broadcast_to(np.asarray(segment_ids), (batch, keys - past[1]))
  if past[0] is None:
    return own, own
  earlier = past[0].segment_ids
  return own, np.concatenate([np.asarray(earlier), own], axis=1)


def weights(
    q: Array,
    k: Array,
    *,
    causal: bool = True,
    scale: float | None = None,
    segment_ids: NDArray[np.int64] | None = None,
    past: Past | None = None,
    rows: NDArray[np.int64] | None = None,
    window: int | None = None,
) -> Array:
  """Attention weights `[B, H, rows, P + S]` of the chosen query rows."""
  q, k = np.asarray(q, np.float64), np.asarray(k, np.float64)
  if past is not None:
    k = np.concatenate([np.asarray(past.k, np.float64), k], axis=1)
  batch, length, heads, width = q.shape
  before = 0 if past is None else past.k.shape[1]
  scale = 1 / np.sqrt(width) if scale is None else scale
  rows = np.arange(length) if rows is None else np.asarray(rows)
  query_ids, key_ids = _ids(segment_ids, (past, before), batch, k.shape[1])
  seen = visible(
    rows, k.shape[1], causal=causal, past=before,
    query_ids=query_ids, key_ids=key_ids, window=window,
  )  # fmt: skip
  seen = np.broadcast_to(seen, (batch, *seen.shape[1:]))
  group = heads // k.shape[2]
  p = np.zeros((batch, heads, len(rows), k.shape[1]))
  for b in range(batch):
    for h in range(heads):
      for i, t in enumerate(rows):
        keys = np.flatnonzero(seen[b, i])
        if keys.size:
          s = scale * (k[b, keys, h // group] @ q[b, t, h])
          e = np.exp(s - s.max())
          p[b, h, i, keys] = e / e.sum()
  return p


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    causal: bool = True,
    scale: float | None = None,
    segment_ids: NDArray[np.int64] | None = None,
    past: Past | None = None,
    rows: NDArray[np.int64] | None = None,
    window: int | None = None,
) -> Array:
  """Softmax attention of q `[B, T, H, K]` over k, v; returns `[B, T, H, V]`.

  Args:
    q: queries.
    k: keys `[B, S, Hk, K]`, of which Hk divides H.
    v: values `[B, S, Hk, V]`.
    causal: query t sees keys up to P + t.
    scale: multiplies the logits; 1 / sqrt(K) when None.
    segment_ids: `[B, T]`, non-decreasing.
    past: tokens before this call.
    rows: compute only these query rows.
    window: a query sees keys less than this many tokens away only.
  """
  v = np.asarray(v, np.float64)
  if past is not None:
    v = np.concatenate([np.asarray(past.v, np.float64), v], axis=1)
  p = weights(
    q, k, causal=causal, scale=scale, segment_ids=segment_ids, past=past,
    rows=rows, window=window,
  )  # fmt: skip
  group = q.shape[2] // v.shape[2]
  out = np.zeros((*p.shape[:3], v.shape[-1]))
  for h in range(q.shape[2]):
    out[:, h] = p[:, h] @ v[:, :, h // group]
  return out.transpose(0, 2, 1, 3)
