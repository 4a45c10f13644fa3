"""Single rows of an output in float64 NumPy, from the definition.

The gate of every timing compares with these; they are for one head.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

_KEYS = 4096  # whose features are there at once


def softmax_rows(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    rows: np.ndarray,
    *,
    causal: bool,
) -> np.ndarray:
  """Softmax attention of single rows, from its equation (1).

  Args:
    q: `[T, K]`.
    k: `[S, K]`.
    v: `[S, V]`.
    rows: `[R]` positions of queries.
    causal: whether a row sees keys up to itself only.
  """
  x = q[rows] @ k.T / np.sqrt(q.shape[-1])
  if causal:
    x = np.where(np.arange(len(k)) <= np.asarray(rows)[:, None], x, -np.inf)
  return _softmax(x) @ v


def _softmax(x: np.ndarray) -> np.ndarray:
  """Returns rows of scores as weights that add up to 1."""
  p = np.exp(x - x.max(axis=-1, keepdims=True))
  return p / p.sum(axis=-1, keepdims=True)


def _among(
    q_t: np.ndarray, k: np.ndarray, v: np.ndarray, seen: Any
) -> np.ndarray:
  """Returns softmax attention of one query to some of the keys."""
  x = k[seen] @ q_t / np.sqrt(q_t.shape[-1])
  return _softmax(x) @ v[seen]


def window_rows(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    rows: np.ndarray,
    *,
    causal: bool,
    window: int,
) -> np.ndarray:
  """Softmax attention of single rows over the keys within a window.

  Args:
    q: `[T, K]`.
    k: `[T, K]`.
    v: `[T, V]`.
    rows: `[R]` positions of queries.
    causal: whether a row sees keys up to itself only.
    window: tokens a row sees to its left, its own one of them.
  """
  out = []
  for t in np.asarray(rows):
    first, stop = max(t - window + 1, 0), t + (1 if causal else window)
    out.append(_among(q[t], k, v, slice(first, stop)))
  return np.stack(out)


def lsh_rows(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    rows: np.ndarray,
    *,
    causal: bool,
    buckets: np.ndarray,
    window: int,
) -> np.ndarray:
  """Softmax attention of single rows over what is next to them in a bucket.

  Args:
    q: `[T, K]`.
    k: `[T, K]`.
    v: `[T, V]`.
    rows: `[R]` positions of queries.
    causal: whether a row sees keys up to itself only.
    buckets: `[T, n]` integers.
    window: tokens of its bucket a row sees to its left, its own one of them.
  """
  out = []
  for t in np.asarray(rows):
    near = []
    for own in buckets.T:
      alike = np.flatnonzero(own == own[t])
      place = np.searchsorted(alike, t)
      stop = place + (1 if causal else window)
      near.append(alike[max(place - window + 1, 0) : stop])
    out.append(_among(q[t], k, v, np.unique(np.concatenate(near))))
  return np.stack(out)


def nystromformer_rows(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    rows: np.ndarray,
    *,
    causal: bool,
    landmarks: int,
    iterations: int,
) -> np.ndarray:
  """Nystromformer's attention of single rows, from its equation (1).

  Args:
    q: `[T, K]`.
    k: `[S, K]`.
    v: `[S, V]`.
    rows: `[R]` positions of queries.
    causal: False.
    landmarks: at most so many.
    iterations: of its equation (2).
  """
  if causal:
    raise ValueError(f"causal: expected False for landmarks, got {causal}")
  count = min(landmarks, len(q), len(k))
  means = lambda x: np.stack([y.mean(0) for y in np.array_split(x, count)])
  own, others = means(q), means(k)
  weights = lambda q, k: _softmax(q @ k.T / np.sqrt(q.shape[-1]))
  A, eye = weights(own, others), np.eye(count)
  Z = A.T / (np.abs(A).sum(axis=0).max() * np.abs(A).sum(axis=1).max())
  for _ in range(iterations):
    AZ = A @ Z
    Z = Z @ (13 * eye - AZ @ (15 * eye - AZ @ (7 * eye - AZ))) / 4
  return weights(q[rows], others) @ (Z @ (weights(own, k) @ v))


def linear_rows(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    rows: np.ndarray,
    *,
    causal: bool,
) -> np.ndarray:
  """Normalised linear attention with elu + 1, from the sums it abbreviates.

  Args:
    q: `[T, K]`.
    k: `[S, K]`.
    v: `[S, V]`.
    rows: `[R]` positions of queries.
    causal: whether a row sees keys up to itself only.
  """
  phi = lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))
  return feature_rows(q, k, v, rows, causal=causal, phi=phi, normalize=True)


def feature_rows(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    rows: np.ndarray,
    *,
    causal: bool,
    phi: Callable[[np.ndarray], np.ndarray],
    normalize: bool,
) -> np.ndarray:
  """Linear attention of single rows, from the sums it abbreviates.

  Args:
    q: `[T, K]`.
    k: `[S, K]`.
    v: `[S, V]`.
    rows: `[R]` positions of queries.
    causal: whether a row sees keys up to itself only.
    phi: feature map of float64 arrays.
    normalize: whether a row is divided by the sum of its scores.
  """
  of_rows, rows = phi(q[rows]), np.asarray(rows)[:, None]
  out, total = np.zeros((len(rows), v.shape[-1])), np.zeros((len(rows), 1))
  for start in range(0, len(k), _KEYS):
    part = slice(start, start + _KEYS)
    score = of_rows @ phi(k[part]).T
    if causal:
      score = np.where(np.arange(len(k))[part] <= rows, score, 0)
    out += score @ v[part]
    total += score.sum(axis=-1, keepdims=True)
  if not normalize:
    return out
  return np.divide(out, total, out=np.zeros_like(out), where=total != 0)
