"""Attention within buckets by sets of keys, in NumPy float64.

Kitaev et al. 2020 (arXiv 2001.04451), equations (4) to (8), with the tokens
next to a query in its bucket in place of chunks of the sorted tokens.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _seen(buckets: Array, t: int, window: int, causal: bool) -> list[int]:
  """The tokens that token t sees; `buckets` `[T, n]`."""
  found: set[int] = set()
  for own in buckets.T:
    alike = [s for s in range(len(own)) if own[s] == own[t]]
    place = alike.index(t)
    last = place if causal else place + window - 1
    found.update(alike[max(0, place - window + 1) : last + 1])
  return sorted(s for s in found if s <= t or not causal)


def attention(
    q: Array,
    k: Array,
    v: Array,
    *,
    buckets: NDArray[np.int64],
    window: int,
    causal: bool = True,
    scale: float | None = None,
    segment_ids: None = None,
) -> Array:
  """Returns `[B, T, H, V]`.

  Args:
    q: `[B, T, H, K]`.
    k: `[B, T, G, K]`, of which G divides H.
    v: `[B, T, G, V]`.
    buckets: `[B, T, G, n]`.
    window: a query sees less than so many tokens of its bucket to either side.
    causal: query t sees keys up to t.
    scale: multiplies the logits; 1 / sqrt(K) when None.
    segment_ids: None.
  """
  assert segment_ids is None
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
  batch, length, heads, _ = q.shape
  group = heads // k.shape[2]
  out = np.zeros((batch, length, heads, v.shape[-1]))
  for b in range(batch):
    for g in range(k.shape[2]):
      for t in range(length):
        seen = _seen(np.asarray(buckets)[b, :, g], t, window, causal)
        for h in range(g * group, (g + 1) * group):
          x = scale * (k[b, seen, g] @ q[b, t, h])
          e = np.exp(x - x.max())
          out[b, t, h] = e @ v[b, seen, g] / e.sum()
  return out
