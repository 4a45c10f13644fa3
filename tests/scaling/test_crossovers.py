"""Crossings of curves whose crossings are known."""

import numpy as np
import pytest

from lalm.scaling import crossovers
from tests.oracles import costs

N = costs.LENGTHS.astype(float)


def tiled(cost, workers=5):
  return np.tile(cost, (workers, 1))


@pytest.mark.parametrize("length", [300.0, 1024.0, 3000.0, 8000.0])
def test_two_powers_cross_where_their_algebra_says(length):
  found = crossovers.compare(N, tiled(N**2), tiled(length * N))
  (crossing,) = found.crossings
  assert crossing.length == pytest.approx(length, rel=1e-6)
  assert crossing.interval == pytest.approx((length, length), rel=1e-6)
  assert crossing.cheaper == found.cheaper == 1
  assert found.reason == ""


def test_swapping_the_curves_swaps_who_is_cheaper_and_nothing_else():
  rng = np.random.default_rng(0)
  first = costs.noisy(rng, 1e-9 * N**2)
  second = costs.noisy(rng, 1e-6 * N)
  one = crossovers.compare(N, first, second)
  other = crossovers.compare(N, second, first)
  assert (one.cheaper, other.cheaper) == (1, 0)
  assert other.crossings[0].length == pytest.approx(one.crossings[0].length)
  assert other.crossings[0].interval == pytest.approx(one.crossings[0].interval)


def test_curves_that_do_not_meet_in_the_range_do_not_cross():
  found = crossovers.compare(N, tiled(N**2), tiled(100 * N))
  assert found.crossings == [] and found.cheaper == 1
  assert "below the other" in found.reason


def test_equal_curves_do_not_cross():
  found = crossovers.compare(N, tiled(N), tiled(N))
  assert found.crossings == [] and found.cheaper is None
  assert "not told apart" in found.reason


def test_equal_curves_under_noise_do_not_cross():
  rng = np.random.default_rng(1)
  found = crossovers.compare(N, costs.noisy(rng, N), costs.noisy(rng, N))
  assert found.crossings == []


def test_a_double_crossing_is_told_as_two():
  x = np.log2(N)
  ratio = np.exp((x - 9.4) * (x - 11.7))
  found = crossovers.compare(N, tiled(N * ratio), tiled(N))
  low, high = found.crossings
  assert np.log2(low.length) == pytest.approx(9.4, abs=0.1)
  assert np.log2(high.length) == pytest.approx(11.7, abs=0.1)
  assert (low.cheaper, high.cheaper, found.cheaper) == (0, 1, 1)
  assert found.reason == "they cross 2 times"


def test_what_slows_a_worker_cancels():
  rng = np.random.default_rng(2)
  first, second = costs.noisy(rng, N**2), costs.noisy(rng, 1500 * N)
  slow = np.array([1, 2, 1, 7, 0.5])[:, None]
  one = crossovers.compare(N, first, second)
  other = crossovers.compare(N, first * slow, second * slow)
  assert other.crossings[0].length == pytest.approx(one.crossings[0].length)


def test_lengths_that_one_curve_lacks_are_left_out():
  first, second = tiled(N**2), tiled(1500 * N)
  first[:, -1] = np.nan
  second[:2, 2] = np.nan
  found = crossovers.compare(N, first, second)
  np.testing.assert_array_equal(found.lengths, N[:-1])
  assert found.crossings[0].length == pytest.approx(1500, rel=1e-6)


def test_a_crossing_beyond_the_shorter_curve_is_not_extrapolated():
  first, second = tiled(N**2), tiled(5000 * N)
  first[:, 4:] = np.nan
  found = crossovers.compare(N, first, second)
  assert found.crossings == [] and found.cheaper == 0


@pytest.mark.parametrize("kept", [0, 1])
def test_fewer_than_two_common_lengths_are_no_comparison(kept):
  second = tiled(N)
  second[:, kept:] = np.nan
  found = crossovers.compare(N, tiled(N**2), second)
  assert found.crossings == []
  assert found.reason == "fewer than two lengths"


def test_unequal_tables_are_refused():
  with pytest.raises(ValueError, match="second: expected shape"):
    crossovers.compare(N, tiled(N), tiled(N, workers=4))


def test_a_crossing_at_the_edge_that_noise_could_make_is_not_claimed():
  """The sign at one end is not resolved, so nothing is known to cross."""
  rng = np.random.default_rng(3)
  second = costs.noisy(rng, 257 * N)
  found = crossovers.compare(N, costs.noisy(rng, N**2), second)
  assert found.crossings == [] and found.cheaper == 1


@pytest.mark.slow
def test_intervals_of_crossings_cover_the_truth():
  rng = np.random.default_rng(4)
  covered, missing, error = [], 0, []
  for _ in range(500):
    truth = 2 ** rng.uniform(9, 12)
    linear, overhead = 10 ** rng.uniform(-6, -5), 3e-4 * rng.uniform()
    first = overhead + linear * N**2 / truth
    second = overhead + linear * N
    found = crossovers.compare(
        N, costs.noisy(rng, first), costs.noisy(rng, second)
    )
    if len(found.crossings) != 1:
      missing += 1
      continue
    (crossing,) = found.crossings
    low, high = crossing.interval
    covered.append(low <= truth <= high)
    error.append(abs(np.log(crossing.length / truth)))
  print(
      f"covered {np.mean(covered):.3f} missing {missing} median error"
      f" {np.median(error):.3f} 95th {np.quantile(error, 0.95):.3f}"
  )
  assert np.mean(covered) >= 0.9 and missing <= 25
