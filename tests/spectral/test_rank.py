"""Ranks of matrices whose singular values are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.spectral import lapack
from lalm.spectral import rank

_SMOOTH = (rank.effective_rank, rank.stable_rank, rank.participation_rank)


def _matrix(values, shape, seed=0):
  """A matrix with these singular values and random singular vectors."""
  generator = np.random.default_rng(seed)
  sides = [
      np.linalg.qr(generator.standard_normal((size, len(values))))[0]
      for size in shape
  ]
  return sides[0] * values @ sides[1].T


@pytest.mark.parametrize("shape", [(9, 9), (40, 12), (12, 40)])
def test_values_are_those_prescribed(shape):
  prescribed = np.geomspace(5, 1e-3, 7)
  found = lapack.singular_values(_matrix(prescribed, shape))
  np.testing.assert_allclose(found[:7], prescribed, rtol=1e-12)
  np.testing.assert_allclose(found[7:], 0, atol=1e-14)


@pytest.mark.parametrize("shape", [(30, 30), (50, 20), (20, 50)])
@pytest.mark.parametrize("count", [1, 7, 20])
def test_rank_is_that_of_numpy_and_what_was_prescribed(shape, count):
  matrix = _matrix(np.linspace(3, 1, count), shape)
  values = lapack.singular_values(matrix)
  found = rank.numerical_rank(values, shape=shape)
  assert found == count == np.linalg.matrix_rank(matrix)


def test_what_a_tolerance_leaves_is_a_share_of_the_largest():
  values = [100.0, 10.0, 1.0, 0.1, 0.0]
  counts = [
      rank.numerical_rank(values, t) for t in (0.2, 0.05, 5e-3, 5e-4, 0.0)
  ]
  assert counts == [1, 2, 3, 4, 4]
  assert rank.numerical_rank([1.0, 1e-3], 1e-3) == 1  # above, not at


def test_rounding_is_of_the_longer_side_and_the_dtype():
  assert rank.rounding((10, 300)) == 300 * 2.0**-52
  assert rank.rounding((8, 4), np.float32) == 8 * 2.0**-23
  values = np.array([1, 5e-14])
  assert rank.numerical_rank(values, shape=(2, 100)) == 2
  assert rank.numerical_rank(values, shape=(2, 1000)) == 1
  assert rank.numerical_rank(values.astype(np.float32)) == 1


def test_equal_values_count_in_full():
  for function in _SMOOTH:
    assert function([2.0] * 5 + [0.0] * 3) == pytest.approx(5)
    assert function([0.3]) == pytest.approx(1)
    assert function([1e300] * 4) == pytest.approx(4)


def test_effective_rank_is_the_exponential_of_the_entropy():
  # Shares 1/2, 1/4, 1/4 have 3/2 bits.
  assert rank.effective_rank([4, 2, 2]) == pytest.approx(2**1.5)
  # A geometric sequence of ratio a: log(1/(1-a)) + a/(1-a) log(1/a).
  a = 0.7
  entropy = np.log(1 / (1 - a)) + a / (1 - a) * np.log(1 / a)
  found = rank.effective_rank(a ** np.arange(200.0))
  assert found == pytest.approx(np.exp(entropy))


def test_stable_rank_is_two_norms_of_the_matrix():
  matrix = np.random.default_rng(1).standard_normal((6, 11))
  known = np.linalg.norm(matrix) ** 2 / np.linalg.norm(matrix, 2) ** 2
  found = rank.stable_rank(lapack.singular_values(matrix))
  assert found == pytest.approx(known)


def test_participation_is_what_variances_share():
  assert rank.participation_rank([2.0, 1.0]) == pytest.approx(25 / 17)
  few, many = [1.0] + [0.1] * 50, [1.0] * 51
  assert rank.participation_rank(few) < 3 < rank.participation_rank(many)


@pytest.mark.parametrize("function", (*_SMOOTH, rank.numerical_rank))
def test_spectra_together_are_as_each_alone_in_jax_as_in_numpy(function):
  values = np.random.default_rng(0).uniform(size=(3, 2, 9))
  values[1, 1, 4:] = 0
  found = function(values)
  assert found.shape == (3, 2)
  assert found[1, 1] == function(values[1, 1])
  single = jnp.asarray(values, jnp.float32)
  np.testing.assert_allclose(jax.jit(function)(single), found, rtol=1e-5)


@pytest.mark.parametrize("function", _SMOOTH)
def test_smooth_ranks_are_differentiable_also_where_values_are_zero(function):
  values = jnp.array([3.0, 2.0, 1.0, 0.0])
  assert jnp.isfinite(jax.grad(function)(values)).all()
  change = jax.grad(function)(values)[1]
  step = jnp.array([0, 1e-2, 0, 0])
  measured = (function(values + step) - function(values - step)) / 2e-2
  assert change == pytest.approx(float(measured), rel=1e-2)


def test_a_matrix_of_zeros_has_rank_zero():
  values = lapack.singular_values(np.zeros((4, 6)))
  assert rank.numerical_rank(values) == 0
  assert rank.effective_rank(values) == rank.stable_rank(values) == 0.0
  assert rank.participation_rank(values) == 0


def test_ranks_do_not_depend_on_the_scale():
  prescribed = np.geomspace(1, 1e-6, 5)
  for scale in (1e-200, 1e200):
    values = lapack.singular_values(scale * _matrix(prescribed, (8, 8)))
    assert rank.numerical_rank(values) == 5
    assert rank.numerical_rank(values, 1e-4) == 3
    known = rank.effective_rank(prescribed)
    assert rank.effective_rank(values) == pytest.approx(known)
    known = rank.stable_rank(prescribed)
    assert rank.stable_rank(values) == pytest.approx(known)


def test_a_block_is_of_later_rows_and_earlier_columns():
  matrix = np.arange(32).reshape(4, 8)
  np.testing.assert_array_equal(rank.block_below(matrix, 3, 2), [range(24, 30)])
  np.testing.assert_array_equal(
      rank.block_below(matrix[:, :4], 1), matrix[1:, :1]
  )


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: lapack.singular_values([1.0]),
            r"matrix: expected \[..., M, N\]",
        ),
        (lambda: lapack.singular_values([[np.inf]]), "matrix: expected finite"),
        (lambda: rank.numerical_rank(1.0), r"values: expected \[..., N\]"),
        (lambda: rank.effective_rank([]), "values: .*none empty"),
        (lambda: rank.effective_rank([-1.0]), "values: expected 0 or more"),
        (lambda: rank.stable_rank([np.nan]), "values: expected finite"),
        (lambda: rank.numerical_rank([1.0], 1.5), "tolerance: expected 0 <="),
        (lambda: rank.block_below(np.eye(4), 4), "from 1 to 3, got 4"),
        (lambda: rank.block_below(np.eye(4), 0), "from 1 to 3, got 0"),
        (lambda: rank.block_below(np.eye(4), 2, 2), "from 1 to 1, got 2"),
    ],
)
def test_what_is_no_matrix_or_spectrum_is_refused(call, words):
  with pytest.raises(ValueError, match=words):
    call()
