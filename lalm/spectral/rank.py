"""What singular values say of a matrix's rank, and blocks of a matrix.

With values s_1 >= s_2 >= ... and p_i = s_i / sum_j s_j,

    numerical rank   #{i: s_i > tolerance s_1}                              (1)
    effective rank   exp(-sum_i p_i log p_i)                                (2)
    stable rank      sum_i s_i^2 / s_1^2                                    (3)

(2) is Roy and Vetterli 2007, EUSIPCO, definition 1; (3) Rudelson and Vershynin
2007, arXiv math/0503442. All are 0 of a matrix of zeros.
"""

from typing import Any

import numpy as np


def singular_values(matrix: Any) -> np.ndarray:
  """Returns the singular values of a matrix, the largest first.

  Args:
    matrix: `[M, N]`, real.

  Returns:
    `[min(M, N)]`.

  Raises:
    ValueError: another number of axes, or an entry that is not finite.
    numpy.linalg.LinAlgError: they do not converge.
  """
  matrix = _matrix(matrix)
  if not np.isfinite(matrix).all():
    raise ValueError("matrix: expected finite entries, got some that are not")
  return np.linalg.svd(matrix, compute_uv=False)


def rounding(shape: tuple[int, int], dtype: Any = np.float64) -> float:
  """Returns max(M, N) eps: below it, a share of s_1 is taken for rounding.

  Args:
    shape: of the matrix.
    dtype: of its entries.
  """
  return max(shape) * float(np.finfo(dtype).eps)


def numerical_rank(
    values: Any,
    tolerance: float | None = None,
    *,
    shape: tuple[int, int] | None = None,
) -> int:
  """Returns (1).

  Args:
    values: singular values, in any order.
    tolerance: share of the largest; `rounding` if None, as is usual with
      LAPACK.
    shape: of the matrix, for `rounding`; square if None.

  Raises:
    ValueError: values that are none, or a tolerance outside [0, 1).
  """
  values = _values(values)
  if tolerance is None:
    tolerance = rounding(shape or (values.size, values.size), values.dtype)
  if not 0 <= tolerance < 1:
    raise ValueError(f"tolerance: expected 0 <= tolerance < 1, got {tolerance}")
  return int(np.sum(values > tolerance * np.max(values, initial=0)))


def effective_rank(values: Any) -> float:
  """Returns (2), from 1 to the rank; a real number.

  Args:
    values: singular values, in any order.

  Raises:
    ValueError: values that are none.
  """
  values = _values(values)
  shares = values[values > 0]
  if not shares.size:
    return 0.0
  shares = shares / np.max(shares)  # their sum may overflow else
  shares = shares / np.sum(shares)
  shares = shares[shares > 0]
  return float(np.exp(-np.sum(shares * np.log(shares))))


def stable_rank(values: Any) -> float:
  """Returns (3), from 1 to the rank; a real number.

  Args:
    values: singular values, in any order.

  Raises:
    ValueError: values that are none.
  """
  values = _values(values)
  largest = np.max(values, initial=0)
  return float(np.sum((values / largest) ** 2)) if largest else 0.0


def block_below(matrix: Any, cut: int, columns: int = 1) -> np.ndarray:
  """Returns what the rows from a cut on take from the columns before it.

  Args:
    matrix: `[T, S r]`.
    cut: i, from 1 to T - 1.
    columns: r, those of a token.

  Returns:
    `[T - i, i r]`.

  Raises:
    ValueError: not a matrix, or a cut with nothing on one of its sides.
  """
  matrix = _matrix(matrix)
  most = min(matrix.shape[0], matrix.shape[1] // columns) - 1
  if not 1 <= cut <= most:
    raise ValueError(f"cut: expected an integer from 1 to {most}, got {cut}")
  return matrix[cut:, : cut * columns]


def _matrix(matrix: Any) -> np.ndarray:
  matrix = np.asarray(matrix)
  if matrix.ndim != 2:
    raise ValueError(f"matrix: expected [M, N], got shape {matrix.shape}")
  whole = not np.issubdtype(matrix.dtype, np.inexact)
  return matrix.astype(np.float64) if whole else matrix


def _values(values: Any) -> np.ndarray:
  values = np.asarray(values)
  if values.ndim != 1:
    raise ValueError(f"values: expected [N], got shape {values.shape}")
  if not np.issubdtype(values.dtype, np.floating):
    values = values.astype(np.float64)
  if not (np.isfinite(values).all() and (values >= 0).all()):
    raise ValueError("values: expected finite numbers >= 0, got others")
  return values
