"""The loop of a recurrent attention mechanism in NumPy float64.

A mechanism is a rule for one token of one key head: from the state before it
to the state after it, and to the matrix that the queries of the token read.
Query head h reads key head h // (H / G). A token whose segment id differs
from that of the token before it starts from the zero state; a state remembers
its last id, so that a sequence may be cut anywhere.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class State(NamedTuple):
  """S `[B, G, F, V]`, z `[B, G, K]` (mLSTM only), last segment ids `[B]`."""

  S: Array
  z: Array | None = None
  segment_id: NDArray[np.int64] | None = None


class Result(NamedTuple):
  """Outputs `[B, T, H, V]` and the state after the last token."""

  out: Array
  state: State


def _segments(segment_ids, state, shape):
  """Whether each token `[B, T]` begins a segment; the last ids `[B]`."""
  before = None if state is None else state.segment_id
  if segment_ids is None:
    return np.zeros(shape, bool), before
  ids = np.broadcast_to(np.asarray(segment_ids), shape)
  first = ids[:, 0] if before is None else np.asarray(before)
  return np.diff(ids, axis=1, prepend=first[:, None]) != 0, ids[:, -1]


def _project(R, q):
  """The unnormalised reading of a state."""
  return R.T @ q


def scan(
    step, q, k, v, *gates, read=_project, scale=None, segment_ids=None,
    state=None,
):  # fmt: skip
  """Runs (S_t, R_t) = step(S_{t-1}, k_t, v_t, *gates_t), o_t = read(R_t, q_t).

  Every array is indexed by batch row, token and head; R_t is the matrix that
  the queries of token t read, S_t for all mechanisms but one.
  """
  q, k, v, *gates = (np.asarray(x, np.float64) for x in (q, k, v, *gates))
  batch, length, heads = q.shape[:3]
  keys, scale = k.shape[2], 1.0 if scale is None else scale
  S = np.zeros((batch, keys, k.shape[-1], v.shape[-1]))
  if state is not None:
    S += state.S
  resets, last = _segments(segment_ids, state, (batch, length))
  out = np.zeros((batch, length, heads, v.shape[-1]))
  group = heads // keys
  for b in range(batch):
    for g in range(keys):
      for t in range(length):
        if resets[b, t]:
          S[b, g] = 0
        token = (x[b, t, g] for x in (k, v, *gates))
        S[b, g], R = step(S[b, g], *token)
        for h in range(g * group, (g + 1) * group):
          out[b, t, h] = read(R, scale * q[b, t, h])
  return Result(out, State(S, None, last))
