"""Singular values of NumPy's matrices by LAPACK, many at once.

A matrix of a few hundred rows is done by one thread: several, among which
OpenBLAS would divide it, wait for each other most of the time. Instead there
are as many matrices at once as there are cores.

Of float32 the values are square roots of the eigenvalues of A^T A in float64,
which takes a third of the time: what squaring loses there, float32 never had.
Where the smallest is not above 1e-6 of the largest, they are of A itself.
"""

from collections.abc import Callable, Sequence
from concurrent import futures
import os
from typing import Any

import numpy as np
import threadpoolctl

from lalm.spectral import checks

_LEAST = 1e-6  # of the largest value: eps of float64 over its square is 2e-4


def singular_values(matrix: Any) -> np.ndarray:
  """Returns the singular values of matrices, the largest first.

  Args:
    matrix: `[..., M, N]`, real.

  Returns:
    `[..., min(M, N)]`, float64.

  Raises:
    ValueError: as of `checks.matrices`.
    numpy.linalg.LinAlgError: they do not converge.
  """
  matrix = checks.matrices("matrix", np.asarray(matrix))
  own = _values if matrix.dtype == np.float64 else _of_gram
  return each(own, matrix)


def each(
    function: Callable[[np.ndarray], np.ndarray], matrix: np.ndarray
) -> np.ndarray:
  """Returns a function of each matrix.

  Args:
    function: of one matrix.
    matrix: `[..., M, N]`.
  """
  flat = matrix.reshape(-1, *matrix.shape[-2:])
  found = together(function, list(flat))
  return np.reshape(found, (*matrix.shape[:-2], *np.shape(found[0])))


def together(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
  """Returns a function of each item: many at once, a thread of BLAS for each.

  Args:
    function: which spends its time in LAPACK.
    items: one at least.
  """
  with threadpoolctl.threadpool_limits(1, user_api="blas"):
    cores = min(_cores(), len(items))
    if cores == 1:
      return [function(x) for x in items]
    with futures.ThreadPoolExecutor(cores) as pool:
      return list(pool.map(function, items))


def _cores() -> int:
  known = hasattr(os, "sched_getaffinity")  # not on a Mac
  return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def _values(matrix: np.ndarray) -> np.ndarray:
  return np.linalg.svd(matrix.astype(np.float64), compute_uv=False)


def _of_gram(matrix: np.ndarray) -> np.ndarray:
  found = np.linalg.eigvalsh(gram(matrix))[::-1]
  if found[-1] > _LEAST**2 * found[0]:
    return np.sqrt(found)
  return _values(matrix)


def gram(matrix: np.ndarray) -> np.ndarray:
  """Returns A^T A or A A^T, whichever is smaller.

  Args:
    matrix: A, `[M, N]`.
  """
  wide = matrix.astype(np.float64)
  return wide.T @ wide if wide.shape[0] >= wide.shape[1] else wide @ wide.T
