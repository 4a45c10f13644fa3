"""Feature maps of the linear-time mechanisms, in NumPy float64.

Every map takes `[..., K]` to `[..., F]`. Random projections and learned
weights are arguments, so that nothing here draws a random number. The maps
that approximate exp(q . k / sqrt(K)) divide their input by K^(1/4) themselves;
`scaled` is that division. The variances of the random ones are those of
Lemma 2 of Choromanski et al. 2020 (arXiv 2009.14794).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax

Array = NDArray[np.float64]


def unit(x: ArrayLike) -> Array:
  """x / |x|, and 0 where x = 0.

  The map of cosine attention: Mongaras et al. 2024, arXiv 2409.18747, eq. (3).
  """
  x = np.asarray(x, np.float64)
  norm = np.linalg.norm(x, axis=-1, keepdims=True)
  return np.divide(x, norm, out=np.zeros_like(x), where=norm > 0)


def scaled(x: ArrayLike) -> Array:
  """x K^(-1/4), so that exp(q . k) becomes exp(q . k / sqrt(K))."""
  x = np.asarray(x, np.float64)
  return x * x.shape[-1] ** -0.25


def _projected(x: ArrayLike, w: ArrayLike) -> tuple[Array, Array]:
  """w . x' `[..., m]` and |x'|^2 / 2 `[..., 1]` of x' = scaled(x)."""
  x = scaled(x)
  half = np.sum(x * x, axis=-1, keepdims=True) / 2
  return x @ np.asarray(w, np.float64).T, half


def favor_positive(x: ArrayLike, w: ArrayLike) -> Array:
  """exp(w_i . x' - |x'|^2 / 2) / sqrt(m) for the rows of w `[m, K]`.

  FAVOR+ of Choromanski et al. 2020 (arXiv 2009.14794): eq. (5) with the
  functions of Lemma 1, eq. (7).
  """
  wx, half = _projected(x, w)
  return np.exp(wx - half) / np.sqrt(len(w))


def favor_hyperbolic(x: ArrayLike, w: ArrayLike) -> Array:
  """[exp(w . x' - |x'|^2 / 2), exp(-w . x' - |x'|^2 / 2)] / sqrt(2 m).

  The second choice of Lemma 1 of arXiv 2009.14794, whose estimate is a mean
  of hyperbolic cosines, eq. (7).
  """
  wx, half = _projected(x, w)
  both = np.concatenate([wx - half, -wx - half], axis=-1)
  return np.exp(both) / np.sqrt(2 * len(w))


def favor_trigonometric(x: ArrayLike, w: ArrayLike) -> Array:
  """exp(|x'|^2 / 2) [cos(w . x'), sin(w . x')] / sqrt(m).

  Random Fourier features of the Gaussian kernel times its normalisers:
  arXiv 2009.14794, section 2.3, eq. (5) with f = sin, cos.
  """
  wx, half = _projected(x, w)
  waves = np.concatenate([np.cos(wx), np.sin(wx)], axis=-1)
  return np.exp(half) * waves / np.sqrt(len(w))


def variance_trigonometric(x: ArrayLike, y: ArrayLike, m: int) -> Array:
  """Variance over iid normal w of the trigonometric estimate of exp(x . y).

  exp(|x + y|^2) exp(-2 x . y) (1 - exp(-|x - y|^2))^2 / (2 m): the first line
  of eq. (8) of arXiv 2009.14794. x and y are what `scaled` returns.
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  total, apart = np.sum((x + y) ** 2, -1), np.sum((x - y) ** 2, -1)
  kernel = np.exp(np.sum(x * y, -1))
  return np.exp(total) / kernel**2 * np.expm1(-apart) ** 2 / (2 * m)


def variance_positive(x: ArrayLike, y: ArrayLike, m: int) -> Array:
  """Variance over iid normal w of the positive estimate of exp(x . y).

  exp(|x + y|^2) exp(2 x . y) (1 - exp(-|x + y|^2)) / m: the second line of
  eq. (8) of arXiv 2009.14794. x and y are what `scaled` returns.
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  total = np.sum((x + y) ** 2, -1)
  kernel = np.exp(np.sum(x * y, -1))
  return kernel**2 * np.expm1(total) / m


def variance_hyperbolic(x: ArrayLike, y: ArrayLike, m: int) -> Array:
  """Variance over iid normal w of the hyperbolic estimate of exp(x . y).

  (1 - exp(-|x + y|^2)) / 2 of the positive one with the same m (and so twice
  the features): the third line of eq. (8) of arXiv 2009.14794.
  """
  total = np.sum((np.asarray(x, np.float64) + np.asarray(y)) ** 2, -1)
  return -np.expm1(-total) / 2 * variance_positive(x, y, m)


def favor_variance(kind: str, x: ArrayLike, y: ArrayLike, m: int) -> Array:
  """The variance of phi(x) . phi(y) as an estimate of exp(x . y), w iid.

  Lemma 2, eq. (8) of arXiv 2009.14794; the estimates are unbiased, so this is
  their mean squared error.

  Args:
    kind: "trigonometric", "positive" or "hyperbolic".
    x: `[..., K]` after `scaled`.
    y: likewise.
    m: rows of w.
  """
  return VARIANCES[kind](x, y, m)


def orthogonal_gain(x: ArrayLike, y: ArrayLike, m: int) -> Array:
  """By how much, at least, orthogonal rows lower the positive variance.

  2 (m - 1) / (m (K + 2)) (exp(x . y) - exp(-(|x|^2 + |y|^2) / 2))^2 for m <= K
  rows: Theorem 2, eq. (10) of the published version of arXiv 2009.14794. (An
  earlier version has the square of exp(x . y) alone, which no estimator meets
  at y = -x, where every estimate is exact.) x and y are what `scaled` returns.
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  half = (np.sum(x * x, -1) + np.sum(y * y, -1)) / 2
  apart = np.exp(np.sum(x * y, -1)) - np.exp(-half)
  return 2 * (m - 1) / (m * (x.shape[-1] + 2)) * apart**2


def orthogonality(w: ArrayLike) -> float:
  """The greatest |cosine| between two rows of one block of K rows of w."""
  rows = unit(w)
  width, greatest = rows.shape[-1], 0.0
  for start in range(0, len(rows), width):
    block = rows[start : start + width]
    cosines = np.abs(block @ block.T)[~np.eye(len(block), dtype=bool)]
    greatest = max(greatest, float(cosines.max(initial=0.0)))
  return greatest


def taylor(x: ArrayLike) -> Array:
  """[1, x', vec(x' x'^T) / sqrt(2)], of which 1 + K + K^2 entries.

  phi(q) . phi(k) = 1 + s + s^2 / 2 for s = q . k / sqrt(K): Based, Arora et
  al. 2024 (arXiv 2402.18668), eq. (4).
  """
  x = scaled(x)
  square = x[..., :, None] * x[..., None, :] / np.sqrt(2)
  square = square.reshape(*x.shape[:-1], x.shape[-1] ** 2)
  return np.concatenate([np.ones_like(x[..., :1]), x, square], axis=-1)


def dpfp(x: ArrayLike, nu: int = 1) -> Array:
  """Products of r = [relu(x), relu(-x)] with itself rolled by 1 .. nu.

  Deterministic parameter-free projection of Schlag et al. 2021 (arXiv
  2102.11174), eq. (37), in the order of the listing of its appendix C: entry
  j of block i is r_j r_(j - i), the indices modulo 2 K.
  """
  x = np.asarray(x, np.float64)
  r = np.maximum(np.concatenate([x, -x], axis=-1), 0)
  blocks = [r * np.roll(r, i, axis=-1) for i in range(1, nu + 1)]
  return np.concatenate(blocks, axis=-1)


def hedgehog(x: ArrayLike, weights: ArrayLike | None = None) -> Array:
  """[softmax(x W), softmax(-x W)] for W `[K, M]`, the identity when None.

  Zhang et al. 2024 (arXiv 2402.04347), the form normalised over the features.
  """
  x = np.asarray(x, np.float64)
  y = x if weights is None else x @ np.asarray(weights, np.float64)
  return np.concatenate([softmax(y, axis=-1), softmax(-y, axis=-1)], axis=-1)


VARIANCES = {
    "trigonometric": variance_trigonometric,
    "positive": variance_positive,
    "hyperbolic": variance_hyperbolic,
}

FAVOR = {
    "trigonometric": favor_trigonometric,
    "positive": favor_positive,
    "hyperbolic": favor_hyperbolic,
}
