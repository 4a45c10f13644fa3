"""What singular values say of a matrix's rank, and blocks of a matrix.

With values s_1 >= s_2 >= ... and p_i = s_i / sum_j s_j,

    numerical rank       #{i: s_i > tolerance s_1}                          (1)
    effective rank       exp(-sum_i p_i log p_i)                            (2)
    stable rank          sum_i s_i^2 / s_1^2                                (3)
    participation rank   (sum_i s_i^2)^2 / sum_i s_i^4                      (4)

(2) is Roy and Vetterli 2007, EUSIPCO, definition 1; (3) Rudelson and Vershynin
2007, arXiv math/0503442; (4) of the variances in all directions, Gao et al.
2017, bioRxiv 214262. All are 0 of a matrix of zeros. They are batched over
leading axes, of NumPy's arrays in NumPy's float64, of JAX's under `jit` and
`grad` too.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.spectral import checks


def rounding(shape: tuple[int, int], dtype: Any = np.float64) -> float:
  """Returns max(M, N) eps: below it, a share of s_1 is taken for rounding.

  Args:
    shape: of the matrix.
    dtype: of its entries.
  """
  return max(shape) * float(jnp.finfo(dtype).eps)


def numerical_rank(
    values: Any,
    tolerance: float | None = None,
    *,
    shape: tuple[int, int] | None = None,
) -> Any:
  """Returns (1), integers `[...]`.

  Args:
    values: singular values, `[..., N]`, in any order.
    tolerance: share of the largest; `rounding` if None, as is usual with
      LAPACK.
    shape: of the matrix, for `rounding`; square if None.

  Raises:
    ValueError: values that are none, or a tolerance outside [0, 1).
  """
  values, xp = _values(values)
  if tolerance is None:
    size = values.shape[-1]
    tolerance = rounding(shape or (size, size), values.dtype)
  if not 0 <= tolerance < 1:
    raise ValueError(f"tolerance: expected 0 <= tolerance < 1, got {tolerance}")
  return xp.sum(values > tolerance * _largest(values, xp), axis=-1)


def effective_rank(values: Any) -> Any:
  """Returns (2), `[...]`, from 1 to the rank; real numbers.

  Args:
    values: as of `numerical_rank`.

  Raises:
    ValueError: values that are none.
  """
  values, xp = _values(values)
  shares = _scaled(values, xp)  # their sum may overflow else
  total = xp.sum(shares, axis=-1, keepdims=True)
  shares = shares / xp.where(total > 0, total, 1)
  logs = xp.log(xp.where(shares > 0, shares, 1))
  found = xp.exp(-xp.sum(shares * logs, axis=-1))
  return xp.where(total[..., 0] > 0, found, 0)[()]


def stable_rank(values: Any) -> Any:
  """Returns (3), `[...]`, from 1 to the rank; real numbers.

  Args:
    values: as of `numerical_rank`.

  Raises:
    ValueError: values that are none.
  """
  values, xp = _values(values)
  return xp.sum(_scaled(values, xp) ** 2, axis=-1)


def participation_rank(values: Any) -> Any:
  """Returns (4), `[...]`, from 1 to the rank; real numbers.

  Args:
    values: as of `numerical_rank`.

  Raises:
    ValueError: values that are none.
  """
  values, xp = _values(values)
  squares = _scaled(values, xp) ** 2
  fourth = xp.sum(squares**2, axis=-1)
  return xp.sum(squares, axis=-1) ** 2 / xp.where(fourth > 0, fourth, 1)


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


def _values(values: Any) -> tuple[Any, Any]:
  """Values of floating point, and the module that computes with them."""
  values = checks.array("values", values, least=1)
  known = not isinstance(values, jax.core.Tracer)
  if known and (values < 0).any():
    raise ValueError("values: expected 0 or more, got some below")
  return values, jnp if isinstance(values, jax.Array) else np


def _largest(values: Any, xp: Any) -> Any:
  return xp.max(values, axis=-1, keepdims=True)


def _scaled(values: Any, xp: Any) -> Any:
  """Values over the largest, so that squares neither overflow nor vanish."""
  largest = _largest(values, xp)
  return values / xp.where(largest > 0, largest, 1)
