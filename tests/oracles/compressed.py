"""Attention to a few keys made of all, in NumPy float64, a head at a time."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def _weights(q: Array, k: Array, scale: float | None) -> Array:
  """softmax(scale q k^T), `[T, S]`, a row at a time."""
  scale = 1 / np.sqrt(q.shape[-1]) if scale is None else scale
  rows = []
  for q_t in q:
    x = scale * (k @ q_t)
    e = np.exp(x - x.max())
    rows.append(e / e.sum())
  return np.stack(rows)


def _heads(q: Array, k: Array, v: Array) -> Iterator[tuple]:
  """Yields batch row and head, and its q, k and v in float64."""
  q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
  group = q.shape[2] // k.shape[2]
  for b in range(q.shape[0]):
    for h in range(q.shape[2]):
      yield b, h, q[b, :, h], k[b, :, h // group], v[b, :, h // group]


def linformer(
    q: Array,
    k: Array,
    v: Array,
    *,
    key_projection: Array,
    value_projection: Array,
    causal: bool = False,
    scale: float | None = None,
    segment_ids: None = None,
) -> Array:
  """Wang et al. 2020 (arXiv 2006.04768), equation (7).

  Args:
    q: `[B, T, H, K]`.
    k: `[B, S, G, K]`, of which G divides H.
    v: `[B, S, G, V]`.
    key_projection: E, `[P, S]`.
    value_projection: F, `[P, S]`.
    causal: False.
    scale: multiplies the logits; 1 / sqrt(K) when None.
    segment_ids: None.
  """
  assert not causal and segment_ids is None
  out = np.zeros((*q.shape[:3], v.shape[-1]))
  E, F = (np.asarray(x, np.float64) for x in (key_projection, value_projection))
  for b, h, q_h, k_h, v_h in _heads(q, k, v):
    out[b, :, h] = _weights(q_h, E @ k_h, scale) @ (F @ v_h)
  return out


def nystromformer(
    q: Array,
    k: Array,
    v: Array,
    *,
    landmarks: int,
    iterations: int = 6,
    causal: bool = False,
    scale: float | None = None,
    segment_ids: None = None,
) -> Array:
  """Xiong et al. 2021 (arXiv 2102.03902), equations (11) and (13).

  Args:
    q: `[B, T, H, K]`.
    k: `[B, S, G, K]`, of which G divides H.
    v: `[B, S, G, V]`.
    landmarks: at most so many; segments differ by one token at most.
    iterations: of equation (11).
    causal: False.
    scale: multiplies the logits; 1 / sqrt(K) when None.
    segment_ids: None.
  """
  assert not causal and segment_ids is None
  count = min(landmarks, q.shape[1], k.shape[1])

  def means(x: Array) -> Array:
    edges = np.cumsum([0] + [len(x) // count + (i < len(x) % count)
                             for i in range(count)])  # fmt: skip
    return np.stack([x[a:b].mean(axis=0) for a, b in zip(edges, edges[1:])])

  out = np.zeros((*q.shape[:3], v.shape[-1]))
  for b, h, q_h, k_h, v_h in _heads(q, k, v):
    A = _weights(means(q_h), means(k_h), scale)
    Z = A.T / (np.linalg.norm(A, 1) * np.linalg.norm(A, np.inf))
    one = np.eye(count)
    for _ in range(iterations):
      X = A @ Z
      Z = 0.25 * Z @ (13 * one - X @ (15 * one - X @ (7 * one - X)))
    of_marks = _weights(means(q_h), k_h, scale) @ v_h
    out[b, :, h] = _weights(q_h, means(k_h), scale) @ Z @ of_marks
  return out
