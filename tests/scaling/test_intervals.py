"""Noise of a sweep: medians, common factors, bootstrap of whole workers."""

import math

import numpy as np
import pytest

from lalm.scaling import intervals
from tests.oracles import costs

N = costs.LENGTHS.astype(float)


@pytest.mark.parametrize("workers", range(1, 7))
def test_every_bootstrap_sample_is_listed_with_its_probability(workers):
  index, weight = intervals.draws(workers)
  assert weight.sum() == pytest.approx(1)
  assert len(index) == math.comb(2 * workers - 1, workers)
  shares = [
      (index == worker).mean(axis=1) @ weight for worker in range(workers)
  ]
  np.testing.assert_allclose(shares, 1 / workers)
  # A worker is absent from (1 - 1/W)^W of all samples.
  absent = (index != 0).all(axis=1) @ weight
  assert absent == pytest.approx((1 - 1 / workers) ** workers)


def test_many_workers_are_drawn_from_a_seed():
  first, second = intervals.draws(9), intervals.draws(9)
  np.testing.assert_array_equal(first[0], second[0])
  assert first[0].shape == (intervals.DRAWS, 9)
  assert first[0].max() == 8


# Variance of the median of 3, 5, 10 normal values: order statistics.
@pytest.mark.parametrize(
    "count, variance",
    [(1, 1.0), (2, 0.5), (3, 0.4487), (5, 0.2868), (10, 0.1383)],
)
def test_the_variance_of_a_median_is_near_its_exact_value(count, variance):
  found = float(intervals.median_variance(count))
  assert found == pytest.approx(variance, rel=0.03)


def test_the_factor_of_each_worker_is_found():
  common = np.array([-0.2, -0.1, 0.0, 0.1, 0.3])
  logs = common[:, None] + np.log(N)
  np.testing.assert_allclose(intervals.common_factors(logs), common, atol=1e-12)


def test_a_factor_common_to_a_worker_moves_the_plain_centre_only():
  rng = np.random.default_rng(0)
  values = costs.noisy(rng, 1e-6 * N)
  factor = np.array([0.5, 0.9, 1.0, 1.2, 3.0])[:, None]
  before, after = intervals.sample(values), intervals.sample(values * factor)
  ratio = after.shape / before.shape
  np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
  assert after.variance == pytest.approx(before.variance)
  assert after.common > before.common
  np.testing.assert_allclose(before.plain, np.median(values, axis=0))


def test_a_worker_that_is_missing_at_some_lengths_does_not_bend_the_shape():
  values = 1e-6 * N * np.array([0.8, 0.9, 1.0, 1.1, 1.2])[:, None]
  values[3:, 4:] = np.nan
  data = intervals.sample(values)
  np.testing.assert_allclose(data.shape / N, data.shape[0] / N[0], rtol=1e-9)


def test_two_of_five_workers_disturbed_at_a_length_do_not_bend_the_shape():
  cost = 1e-4 + 1e-6 * N
  values = np.tile(cost, (5, 1))
  values[0, -1] *= 30
  values[3, -1] *= 3
  data = intervals.sample(values)
  np.testing.assert_allclose(data.shape, cost, rtol=1e-12)
  np.testing.assert_allclose(data.plain, cost, rtol=1e-12)


def test_the_order_of_the_workers_does_not_matter_to_the_last_bit():
  values = costs.noisy(np.random.default_rng(2), 1e-6 * N)
  one = intervals.sample(values)
  other = intervals.sample(values[[3, 1, 4, 0, 2]])
  assert one.variance == other.variance
  np.testing.assert_array_equal(one.resamples.shape, other.resamples.shape)


def test_one_worker_has_no_variance_unless_it_counts_exactly():
  values = N[None] ** 2
  assert intervals.sample(values).variance is None
  assert intervals.band(intervals.sample(values)) is None
  counted = intervals.sample(values, exact=True)
  assert counted.variance == 0
  np.testing.assert_array_equal(intervals.band(counted), np.zeros(len(N)))


def test_workers_that_disagree_are_not_exact():
  values = np.stack([N**2, N**2, N**2 + 1])
  assert intervals.sample(values, exact=True).variance > 0


@pytest.mark.parametrize(
    "values",
    [np.ones(3), np.array([[1.0, np.nan], [2.0, np.nan]]), np.ones((0, 2))],
)
def test_a_table_with_an_empty_line_is_refused(values):
  with pytest.raises(ValueError, match="expected .workers, lengths."):
    intervals.sample(values)


def test_local_slopes_of_a_power_are_its_exponent():
  values = np.tile(3e-9 * N**1.7, (5, 1))
  found = intervals.slopes(N, N, intervals.sample(values))
  assert len(found) == len(N) - 1
  for i, slope in enumerate(found):
    assert slope.slope == pytest.approx(1.7, abs=1e-12)
    assert slope.interval == pytest.approx((1.7, 1.7), abs=1e-12)
    assert (slope.low, slope.high) == (N[i], N[i + 1])


def test_a_quantile_counts_weights():
  values, weight = np.array([3.0, 1.0, 2.0]), np.array([0.2, 0.5, 0.3])
  assert intervals.quantile(values, weight, 0.5) == 1
  assert intervals.quantile(values, weight, 0.51) == 2
  assert intervals.quantile(values, weight, 1.0) == 3


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3, 5, 8])
def test_bands_and_slopes_cover_the_truth(workers):
  rng = np.random.default_rng(3)
  cost = 1e-4 + 1e-6 * N
  slope = np.diff(np.log(cost)) / np.diff(np.log(N))
  bands, slopes = [], []
  for _ in range(500):
    data = intervals.sample(costs.noisy(rng, cost, workers))
    bands.append(np.abs(data.plain - cost) <= intervals.band(data))
    for found, truth in zip(intervals.slopes(N, N, data), slope):
      slopes.append(found.interval[0] <= truth <= found.interval[1])
  print(f"{workers}: bands {np.mean(bands):.3f} slopes {np.mean(slopes):.3f}")
  assert np.mean(bands) >= 0.9 and np.mean(slopes) >= 0.9
