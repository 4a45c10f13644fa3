"""Spectra of random matrices, beside which those of weights are read.

Eigenvalues of W^T W / M, W of M x N independent entries of variance v, fill

    v (1 - sqrt q)^2 to v (1 + sqrt q)^2,  q = N / M <= 1,                  (1)

with density sqrt((b - x)(x - a)) / (2 pi q v x) (Marchenko and Pastur 1967).
What is above b is no noise. v follows from the median of the eigenvalues
(Gavish and Donoho 2014, arXiv 1305.5870, equation 13), which few that are large
do not move.

A matrix whose entries are put elsewhere at random has no structure left but the
sizes of its entries: a value above b is then a trap, made by single entries
(Martin and Mahoney 2021, arXiv 1810.01075, section 6.3).
"""

import functools
from typing import Any, NamedTuple

import numpy as np

from lalm.spectral import checks

_NODES = 2000  # of the integral, whose integrand is smooth
# Deviations of Tracy and Widom's law above the edge, 1 of 1,000 (of beta = 1).
_RARE = 3.27


class Law(NamedTuple):
  """(1) fitted to a spectrum.

  Attributes:
    variance: v.
    low: a.
    high: b.
    spikes: eigenvalues above b.
    distance: D of Kolmogorov and Smirnov, of those up to b.
  """

  variance: float
  low: float
  high: float
  spikes: int
  distance: float


def edges(shape: tuple[int, int], variance: float = 1.0) -> tuple[float, float]:
  """Returns a and b.

  Args:
    shape: of W, in either order.
    variance: v.

  Raises:
    ValueError: an empty shape, or a variance that is not above 0.
  """
  if min(shape) < 1 or not 0 < variance < np.inf:
    raise ValueError(
        f"shape, variance: expected both above 0, got {shape}, {variance}"
    )
  root = (min(shape) / max(shape)) ** 0.5
  return variance * (1 - root) ** 2, variance * (1 + root) ** 2


def cumulative(x: Any, shape: tuple[int, int]) -> np.ndarray:
  """Returns the share of eigenvalues up to x, where v = 1."""
  points, shares = _table(min(shape) / max(shape))
  return np.interp(np.asarray(x, np.float64), points, shares)


@functools.cache
def _table(ratio: float) -> tuple[np.ndarray, np.ndarray]:
  """Points from a to b, and shares up to each."""
  root = ratio**0.5
  middle, half = 1 + ratio, 2 * root
  # x = middle - half cos t takes the roots at both ends away.
  t = np.linspace(0, np.pi, _NODES + 1)
  x = middle - half * np.cos(t)
  # Where N = M, the density at 0 is that of 1 / sqrt(x): its limit in t.
  bottom = np.where(x > 1e-12, x, 1)
  inner = np.where(x > 1e-12, (half * np.sin(t)) ** 2 / bottom, 4 * root)
  shares = np.concatenate([[0], np.cumsum((inner[1:] + inner[:-1]) / 2)])
  return x, shares / shares[-1]


def fit(values: Any, shape: tuple[int, int]) -> Law:
  """Returns (1) of one matrix's singular values.

  Args:
    values: singular values of W, all of them, `[min(M, N)]`.
    shape: of W.

  Raises:
    ValueError: another number of values, or a median of 0: half or more of
      the matrix is missing.
  """
  values = np.asarray(checks.array("values", values, least=1), np.float64)
  if values.shape != (min(shape),):
    raise ValueError(f"values: expected [{min(shape)}], got {values.shape}")
  eigenvalues = np.sort(values**2) / max(shape)
  points, shares = _table(min(shape) / max(shape))
  variance = float(np.median(eigenvalues) / np.interp(0.5, shares, points))
  if not variance > 0:
    raise ValueError("values: expected a median above 0, got 0")
  low, high = edges(shape, variance)
  bulk = eigenvalues[eigenvalues <= high]
  expected = cumulative(bulk / variance, shape)
  steps = np.arange(bulk.size + 1) / bulk.size
  apart = np.maximum(expected - steps[:-1], steps[1:] - expected)
  return Law(
      variance, low, high, int(eigenvalues.size - bulk.size), float(apart.max())
  )


def traps(matrix: Any, seed: int) -> int:
  """Returns how many singular values single entries make: 0 is what to expect.

  Args:
    matrix: `[M, N]`.
    seed: of the places that entries are put in.

  Raises:
    ValueError: as of `checks.matrices`, or equal entries.
  """
  matrix = checks.matrices("matrix", np.asarray(matrix))
  if matrix.ndim != 2:
    raise ValueError(f"matrix: expected [M, N], got {matrix.shape}")
  matrix, _ = checks.scaled(matrix)
  variance = float(matrix.var(dtype=np.float64))
  _, high = edges(matrix.shape, variance)  # refuses a variance of 0
  # In float32, which tells well enough what is above a limit.
  entries = (matrix - matrix.mean(dtype=np.float64)).astype(np.float32).ravel()
  mixed = np.random.default_rng(seed).permutation(entries)
  m, n = max(matrix.shape), min(matrix.shape)
  # Johnstone 2001, Ann. Statist. 29(2), theorem 1.1: how far a greatest one is.
  spread = (m**0.5 + n**0.5) * (m**-0.5 + n**-0.5) ** (1 / 3)
  limit = high * m + _RARE * variance * spread
  mixed = mixed.reshape(max(matrix.shape), -1)
  return _above(mixed.T @ mixed, limit)


def _above(gram: np.ndarray, limit: float) -> int:
  """How many eigenvalues are above a limit."""
  try:
    # That there are none, Cholesky's factor tells in a tenth of the time.
    np.linalg.cholesky(limit * np.eye(len(gram), dtype=gram.dtype) - gram)
  except np.linalg.LinAlgError:
    return int(np.sum(np.linalg.eigvalsh(gram) > limit))
  return 0
