"""How far FAVOR+ is from softmax: exact variances of its random features.

A random vector w estimates SM(x, y) = exp(x . y), x = q / K^(1/4) and
y = k / K^(1/4), by a product of features whose mean it is (`features.favor`).
Two estimates of one w, of keys y and z, have the covariance

    Cov / (SM(x, y) SM(x, z)) = g(c) - 1,                                  (1)

| kind          | g(c) | c                     |
|---------------|------|-----------------------|
| positive      | exp  | (x + y) . (x + z)     |
| hyperbolic    | cosh | (x + y) . (x + z)     |
| trigonometric | cosh | (x - y) . (x - z)     |

and the mean over m independent w an m-th of it. For y = z these are the
variances of Lemma 2 of Choromanski et al. 2020 (arXiv 2009.14794); (1) follows
as they do, from E exp(w . a) = exp(|a|^2 / 2).

Attention divides by the sum of its estimates. With p_j = SM(x, y_j) / Z and
o = sum_j p_j v_j, to first order in what the estimates are off,

    out - o = sum_j (estimate_j - SM(x, y_j)) (v_j - o) / Z,               (2)

    E |out - o|^2 = sum_jl p_j p_l g(c_jl) (v_j - o) . (v_l - o) / m       (3)

(the 1 of (1) drops out, for sum_j p_j (v_j - o) = 0). Everything here is
float64 NumPy.
"""

import numpy as np

from lalm import shapes

# kind -> sign of y in c of (1); sign -> share of exp(sign c) in g.
_KINDS = {
    "positive": (1, {1: 1.0}),
    "hyperbolic": (1, {1: 0.5, -1: 0.5}),
    "trigonometric": (-1, {1: 0.5, -1: 0.5}),
}


def scaled(x: np.ndarray) -> np.ndarray:
  """Returns x / K^(1/4) in float64, whose products are logits.

  Args:
    x: queries or keys `[..., K]`.
  """
  x = np.asarray(x, np.float64)
  return x * x.shape[-1] ** -0.25


def covariance(
    kind: str, x: np.ndarray, y: np.ndarray, z: np.ndarray, count: int
) -> np.ndarray:
  """Returns the covariance (1) of the estimates of exp(x . y) and exp(x . z).

  Args:
    kind: "positive", "hyperbolic" or "trigonometric".
    x: a scaled query `[..., K]`.
    y: a scaled key `[..., K]`.
    z: another, or the same.
    count: m, independent vectors w.

  Raises:
    ValueError: another kind, or a count below 1.
  """
  side, shares = _kind(kind, count)
  c = np.sum((x + side * y) * (x + side * z), axis=-1)
  kernels = np.exp(np.sum(x * (y + z), axis=-1))
  # expm1, for c may be small: the shares add up to 1.
  above = sum(share * np.expm1(sign * c) for sign, share in shares.items())
  return kernels * above / count


def variance(kind: str, x: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
  """Returns the variance of the estimate of exp(x . y); see `covariance`."""
  return covariance(kind, x, y, y, count)


def orthogonal_gain(x: np.ndarray, y: np.ndarray, count: int) -> np.ndarray:
  """Returns by how much orthogonal w lower the positive variance at least.

  2 (m - 1) / (m (K + 2)) (exp(x . y) - exp(-(|x|^2 + |y|^2) / 2))^2 for m <= K
  vectors at right angles (Theorem 2 of arXiv 2009.14794, as published); more
  are independent blocks of K.

  Args:
    x: a scaled query `[..., K]`.
    y: a scaled key `[..., K]`.
    count: m.

  Raises:
    ValueError: a count below 1.
  """
  shapes.check_positive("count", count)
  width = np.shape(x)[-1]
  blocks = [width] * (count // width) + [count % width]
  pairs = sum(m * (m - 1) for m in blocks) / count**2
  norms = np.sum(x * x, axis=-1) + np.sum(y * y, axis=-1)
  apart = np.exp(np.sum(x * y, axis=-1)) - np.exp(-norms / 2)
  return 2 * pairs / (width + 2) * apart**2


def output_variance(
    kind: str,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    rows: np.ndarray,
    count: int,
    *,
    causal: bool,
) -> np.ndarray:
  """Returns (3), the expected square of an output's distance to softmax.

  It is exact as m grows: (2) leaves out the second order. Where the result is
  not small beside |o|^2 it is no prediction.

  Args:
    kind: of the features.
    q: queries of one head, `[T, K]`.
    k: its keys, `[S, K]`.
    v: its values, `[S, V]`.
    rows: `[R]` positions of queries.
    count: m, independent vectors w.
    causal: whether a row sees keys up to itself only.

  Returns:
    `[R]`, the sum over the V entries.

  Raises:
    ValueError: another kind, or a count below 1.
  """
  side, shares = _kind(kind, count)
  x, y, v = scaled(q)[rows], scaled(k), np.asarray(v, np.float64)
  logits, among = x @ y.T, y @ y.T
  p = np.exp(logits - logits.max(axis=-1, keepdims=True))
  if causal:
    p = np.where(np.arange(len(y)) <= np.asarray(rows)[:, None], p, 0)
  p /= p.sum(axis=-1, keepdims=True)
  away = p.T[..., None] * (v[:, None] - p @ v)  # [S, R, V]
  # c = |x|^2 + side (x . y + x . z) + y . z: a factor of each key, and of both.
  half = np.sum(x * x, axis=-1, keepdims=True) / 2 + side * logits
  found = np.zeros(len(x))
  for sign, share in shares.items():
    one = away * np.exp(sign * half).T[..., None]
    both = np.exp(sign * among) @ one.reshape(len(y), -1)
    found += share * np.sum(one * both.reshape(one.shape), axis=(0, 2))
  # Rounding may leave a sum that is zero a little below it.
  return np.maximum(found, 0) / count


def _kind(kind: str, count: int) -> tuple:
  """Checks a call; returns the sign of y and the shares."""
  shapes.check_positive("count", count)
  if kind not in _KINDS:
    known = ", ".join(_KINDS)
    raise ValueError(f"kind: expected one of {known}, got {kind!r}")
  return _KINDS[kind]
