"""Singular values of many matrices at once, against each alone."""

import numpy as np
import pytest
import threadpoolctl

from lalm.spectral import lapack
from tests.spectral import conftest as made


@pytest.mark.parametrize("shape", ((2, 3, 24, 9), (5, 9, 24), (12, 12)))
@pytest.mark.parametrize("dtype", (np.float32, np.float64))
def test_values_of_many_are_those_of_each(shape, dtype):
  matrices = np.random.default_rng(0).normal(size=shape).astype(dtype)
  found = lapack.singular_values(matrices)
  alone = np.linalg.svd(matrices.astype(np.float64), compute_uv=False)
  assert found.dtype == np.float64 and found.shape == alone.shape
  np.testing.assert_allclose(found, alone, rtol=1e-12)


@pytest.mark.parametrize("least", (1e-3, 1e-5, 1e-9, 0))
def test_what_squaring_would_lose_is_not_lost(least):
  """Below 1e-6 the values are of the matrix itself, not of its square."""
  values = np.array([1, 0.5, least])
  matrix = made.prescribed((40, 3), values).astype(np.float32)
  found = lapack.singular_values(matrix)
  alone = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
  np.testing.assert_allclose(found, alone, rtol=1e-5)


def test_threads_are_as_they_were():
  def count():
    return [x["num_threads"] for x in threadpoolctl.threadpool_info()]

  seen = []
  before = count()
  lapack.each(lambda x: seen.append(count()) or x[0], np.eye(3)[None])
  assert count() == before
  blas = [
      x["num_threads"]
      for x in threadpoolctl.threadpool_info()
      if x["user_api"] == "blas"
  ]
  assert len(seen) == 1 and blas  # and what it did was done by one thread each
  assert seen[0].count(1) >= len(blas)


@pytest.mark.parametrize(
    "matrix, message",
    (
        (np.ones(3), r"expected \[..., M, N\]"),
        (np.ones((0, 3)), "none empty"),
        (np.array([[1, np.nan]]), "expected finite entries"),
        (np.ones((2, 2), complex), "expected real entries"),
    ),
)
def test_what_has_no_values_is_refused(matrix, message):
  with pytest.raises(ValueError, match=f"matrix: .*{message}|{message}"):
    lapack.singular_values(matrix)
