"""Log-linear attention by a binary counter of blocks, in NumPy float64.

Guo et al. 2025 (arXiv 2506.04761), equations (4) and (9). The tokens so far
stand in blocks whose sizes are powers of two, each larger than the next. A new
token is a block of its own; then, as in the game 2048, the last two blocks are
joined as long as they have one size. Before that a query reads every block:
one of 2^b tokens with its weight of level b + 1, its own token with that of 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _row(q, k, v, weights, decay, ids):
  """One batch row and query head: q and k `[T, K]`, v and out `[T, V]`."""
  out = np.zeros(v.shape)
  sizes: list[int] = []
  sums: list[Array] = []
  for t in range(len(q)):
    if ids is not None and t and ids[t] != ids[t - 1]:
      sizes, sums = [], []
    sums = [decay[t] * S for S in sums]
    for size, S in zip(sizes, sums):
      out[t] += weights[t, size.bit_length()] * (q[t] @ S)
    out[t] += weights[t, 0] * (q[t] @ k[t]) * v[t]
    sizes.append(1)
    sums.append(np.outer(k[t], v[t]))
    while len(sizes) > 1 and sizes[-1] == sizes[-2]:
      sizes[-2:] = [2 * sizes[-1]]
      sums[-2:] = [sums[-2] + sums[-1]]
  return out


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    weights: Array,
    log_decay: Array | None = None,
    causal: bool = True,
    scale: float | None = None,
    segment_ids: Any = None,
) -> Array:
  """Returns `[B, T, H, V]`.

  Args:
    q: `[B, T, H, K]`.
    k: `[B, T, G, K]`, of which G divides H.
    v: `[B, T, G, V]`.
    weights: `[B, T, H, N + 1]`.
    log_decay: `[G]` or `[B, T, G]`; None decays nothing.
    causal: True.
    scale: multiplies the output, 1 if None.
    segment_ids: `[B, T]`, non-decreasing.
  """
  assert causal
  q, k, v, weights = (np.asarray(x, np.float64) for x in (q, k, v, weights))
  batch, length, heads, _ = q.shape
  log_decay = 0.0 if log_decay is None else np.asarray(log_decay, np.float64)
  decay = np.exp(np.broadcast_to(log_decay, (batch, length, k.shape[2])))
  out = np.zeros((batch, length, heads, v.shape[-1]))
  for b in range(batch):
    ids = None if segment_ids is None else np.asarray(segment_ids)[b]
    for h in range(heads):
      g = h // (heads // k.shape[2])
      out[b, :, h] = _row(
          q[b, :, h], k[b, :, g], v[b, :, g], weights[b, :, h], decay[b, :, g],
          ids,
      )  # fmt: skip
  return out if scale is None else scale * out
