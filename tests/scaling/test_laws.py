"""Laws of exact, noisy and incomplete data."""

import numpy as np
import pytest

from lalm import scaling
from lalm.scaling import fits, laws
from tests.oracles import costs

N = costs.LENGTHS.astype(float)


def exact(cost, workers=5):
  return scaling.sample(np.tile(cost, (workers, 1)), exact=True)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.3456, 2.0, 2.3456, 3.0])
@pytest.mark.parametrize("share", [0.0, 0.01, 3.0])
def test_an_exact_power_beside_an_offset_has_its_exponent(exponent, share):
  offset = share * 2e-9 * N[-1] ** exponent
  found = laws.fit(N, exact(offset + 2e-9 * N**exponent))
  assert found.exponent == pytest.approx(exponent, abs=1e-6)
  assert found.interval == pytest.approx((exponent, exponent), abs=1e-6)
  assert found.offset == pytest.approx(offset, rel=1e-4, abs=1e-12)
  assert found.coefficient == pytest.approx(2e-9, rel=1e-4)


@pytest.mark.parametrize("linear", [1e-8, 1e-6, 8e-6])
def test_an_exact_quadratic_beside_a_linear_term_is_quadratic(linear):
  a, c = 1e-4, 1e-9
  found = laws.fit(N, exact(a + linear * N + c * N**2))
  assert found.exponent == pytest.approx(2, abs=1e-6)
  assert found.interval == pytest.approx((2, 2), abs=1e-6)
  assert found.verdict == "quadratic"
  assert found.linear == pytest.approx(linear, rel=1e-3)
  np.testing.assert_allclose(found.terms, (a, linear, 0, c), rtol=1e-6)


def test_an_exact_n_log_n_is_n_log_n():
  found = laws.fit(N, exact(1e-4 + 1e-7 * N * np.log(N)))
  slope = costs.n_log_n_slope(N)
  assert 1.13 < slope < 1.15
  assert found.exponent == pytest.approx(slope, abs=1e-9)
  assert found.verdict == "n log n"
  assert found.power is None
  assert found.coefficient == pytest.approx(1e-7)
  np.testing.assert_allclose(found.terms, (1e-4, 0, 1e-7, 0), rtol=1e-6)


@pytest.mark.parametrize(
    "cost, word",
    [
        (0.3 + 0 * N, "constant"),
        (1e-6 * N**0.5, "sublinear"),
        (1e-6 * N, "linear"),
        (1e-6 * N**1.5, "between linear and quadratic"),
        (1e-9 * N**2, "quadratic"),
        (1e-9 * N**2.5, "between quadratic and cubic"),
        (1e-12 * N**3, "cubic"),
    ],
)
def test_an_exact_law_has_its_word(cost, word):
  assert laws.fit(N, exact(cost)).verdict == word


@pytest.mark.parametrize("kind", ["linear", "quadratic", "n log n", "constant"])
def test_the_unit_of_time_changes_coefficients_only(kind):
  values = costs.draw(np.random.default_rng(0), kind).values
  seconds = laws.fit(N, scaling.sample(values))
  micro = laws.fit(N, scaling.sample(values * 1e6))
  assert micro.exponent == pytest.approx(seconds.exponent, abs=1e-7)
  assert micro.interval == pytest.approx(seconds.interval, abs=1e-7)
  assert micro.verdict == seconds.verdict
  assert micro.offset == pytest.approx(seconds.offset * 1e6, rel=1e-6)
  np.testing.assert_allclose(
      micro.terms, np.array(seconds.terms) * 1e6, rtol=1e-6
  )


def test_the_unit_of_length_leaves_powers_as_they_are():
  values = costs.draw(np.random.default_rng(1), "quadratic").values
  one = laws.fit(N, scaling.sample(values))
  other = laws.fit(4 * N, scaling.sample(values))
  assert other.exponent == pytest.approx(one.exponent, abs=1e-7)
  assert other.interval == pytest.approx(one.interval, abs=1e-7)


def test_the_order_of_the_workers_changes_nothing():
  values = costs.draw(np.random.default_rng(2), "quadratic").values
  one = laws.fit(N, scaling.sample(values))
  other = laws.fit(N, scaling.sample(values[[4, 2, 0, 1, 3]]))
  assert (one.exponent, one.interval) == (other.exponent, other.interval)
  assert one.terms == other.terms


def test_a_slow_worker_changes_nothing_but_the_scale():
  values = costs.draw(np.random.default_rng(3), "linear").values
  slow = values * np.array([1, 1, 5, 1, 1])[:, None]
  one = laws.fit(N, scaling.sample(values))
  other = laws.fit(N, scaling.sample(slow))
  assert other.exponent == pytest.approx(one.exponent, abs=1e-7)
  assert other.interval == pytest.approx(one.interval, abs=1e-7)


def test_a_worker_disturbed_at_one_length_hardly_widens_the_interval():
  values = costs.noisy(np.random.default_rng(7), 1e-4 + 1e-6 * N)
  low, high = laws.fit(N, scaling.sample(values)).interval
  values[int(np.argmax(values[:, -1])), -1] *= 5
  below, above = laws.fit(N, scaling.sample(values)).interval
  assert below < 1 < above
  assert above - below < 2 * (high - low)


def test_missing_points_leave_an_exact_law():
  values = np.tile(1e-4 + 1e-9 * N**2, (5, 1))
  values[0, 0] = values[1, 5] = values[2, 5] = values[3, 3] = np.nan
  found = laws.fit(N, scaling.sample(values))
  assert found.exponent == pytest.approx(2, abs=1e-6)
  assert found.verdict == "quadratic"


def test_three_lengths_give_a_law():
  n = N[[0, 3, 5]]
  found = laws.fit(n, exact(1e-4 + 1e-6 * n))
  assert found.exponent == pytest.approx(1, abs=1e-6)
  noisy = costs.noisy(np.random.default_rng(0), 1e-6 * n)
  low, high = laws.fit(n, scaling.sample(noisy)).interval
  assert low < 1 < high


def test_two_lengths_are_inconclusive():
  found = laws.fit(N[:2], exact(1e-6 * N[:2] ** 2))
  assert found.exponent == pytest.approx(2, abs=1e-6)
  assert found.interval is None
  assert (found.verdict, found.reason[:11]) == ("inconclusive", "two lengths")


def test_one_length_has_no_exponent():
  found = laws.fit(N[:1], exact(1e-6 * N[:1]))
  assert found.exponent is None and found.interval is None
  assert (found.verdict, found.reason) == ("inconclusive", "one length")


def test_one_worker_is_inconclusive_and_says_why():
  found = laws.fit(N, scaling.sample(1e-9 * N[None] ** 2))
  assert found.exponent == pytest.approx(2, abs=1e-6)
  assert found.interval is None
  assert (found.verdict, found.reason[:10]) == ("inconclusive", "one worker")


def block_products(n, block=256):
  """Multiplications of causal attention that skips future blocks."""
  rows = n // block
  return 4 * 64 * block**2 * rows * (rows + 1) / 2


def test_time_proportional_to_causal_blocks_is_quadratic_against_the_count():
  counts = block_products(N)
  data = exact(2e-4 + 1e-11 * counts)
  local = np.diff(np.log(counts)) / np.log(2)
  assert local[0] < 1.6 and 1.85 < local[-2] < local[-1] < 2
  found = laws.fit(N, data, counts=counts)
  assert found.against == "closed form"
  assert found.exponent == pytest.approx(2, abs=1e-6)
  assert found.verdict == "quadratic"
  slopes = [slope.slope for slope in found.slopes]
  assert slopes[-1] == pytest.approx(2, abs=0.01)
  assert laws.fit(N, data).slopes[0].slope < 1.5


def test_time_proportional_to_a_linear_count_is_linear_against_it():
  counts = 7.0 * N
  found = laws.fit(N, exact(1e-4 + 1e-8 * counts), counts=counts)
  assert found.exponent == pytest.approx(1, abs=1e-6)
  np.testing.assert_allclose(found.abscissa, N)


def test_work_beyond_the_count_shows_against_the_count():
  found = laws.fit(N, exact(1e-9 * N**2), counts=5.0 * N)
  assert found.exponent == pytest.approx(2, abs=1e-6)


def test_equivalent_lengths_do_the_counted_work():
  counts = block_products(N)
  found = fits.equivalent_lengths(N, counts)
  np.testing.assert_allclose((found / N[-1]) ** 2, counts / counts[-1])
  assert found[-1] == N[-1]


@pytest.mark.parametrize("negligible", (0.0, 0.02))
def test_counts_that_are_all_alike_are_constant(negligible):
  values = np.full((5, 10), 196608.0)
  found = laws.fit(
      2.0 ** np.arange(8, 18), scaling.sample(values), negligible=negligible
  )
  assert found.verdict == "constant" and abs(found.exponent) < 1e-6


def hierarchy_products(n, chunk=64):
  """Products of a hierarchy: a chunk's own, and a level for each doubling."""
  return n * (2.0 * chunk + 300 * np.log2(n / chunk))


@pytest.mark.parametrize("noise", [0, 0.01])
def test_time_proportional_to_a_hierarchy_of_chunks_is_n_log_n(noise):
  counts = hierarchy_products(N)
  rng = np.random.default_rng(3)
  values = 1e-9 * counts * np.exp(noise * rng.standard_normal((5, len(N))))
  found = laws.fit(N, scaling.sample(values), counts=counts)
  assert found.verdict == "n log n", found.reason
  work = found.abscissa * np.log(found.abscissa)
  np.testing.assert_allclose(work / work[-1], counts / counts[-1], rtol=1e-12)
  assert found.abscissa[-1] == pytest.approx(N[-1])
  # Time that grows like n alone does not grow like the count.
  linear = laws.fit(N, scaling.sample(values * N / counts), counts=counts)
  assert linear.interval[1] < found.interval[0]


@pytest.mark.parametrize(
    "counts",
    [
        7.0 * N,
        512.0 * N - 130000,  # a window
        N * np.log(N) + 1e-3 * N**2,
        N**1.1,
        1e4 * N + N * np.log(N),
    ],
)
def test_what_is_not_n_log_n_is_not_taken_for_it(counts):
  assert not fits.log_linear(N, np.asarray(counts, float))
  assert not fits.log_linear(N[:4], hierarchy_products(N[:4]))


@pytest.mark.parametrize("counts", [[1, 2], [3, 2, 1], [0, 1, 2], [1, 1, 2]])
def test_counts_that_do_not_grow_are_refused(counts):
  with pytest.raises(ValueError, match="counts: expected"):
    laws.fit(N[:3], exact(N[:3]), counts=np.array(counts, float))


@pytest.mark.parametrize("lengths", [N[::-1], N[:3], 0 * N])
def test_lengths_that_do_not_match_are_refused(lengths):
  with pytest.raises(ValueError, match="lengths: expected 6"):
    laws.fit(lengths, exact(N))


def test_a_misfit_that_all_workers_share_widens_the_interval():
  """What a cache does at one length is no noise between workers."""
  rng = np.random.default_rng(5)
  quiet = 1e-6 * N * np.exp(0.002 * rng.standard_normal((5, len(N))))
  bump = np.array([1, 1, 1.2, 1, 1, 1])
  smooth = laws.fit(N, scaling.sample(quiet)).interval
  bumpy = laws.fit(N, scaling.sample(quiet * bump)).interval
  assert smooth[1] - smooth[0] < 0.02
  assert bumpy[0] < 1 < bumpy[1] and bumpy[1] - bumpy[0] > 0.1


def test_workers_of_different_exponents_widen_the_interval():
  """Errors that hang together within a worker need whole workers drawn."""
  values = np.stack(
      [1e-6 * N * (N / 1500) ** tilt for tilt in (-0.1, -0.05, 0, 0.05, 0.1)]
  )
  low, high = laws.fit(N, scaling.sample(values)).interval
  assert low < 0.93 and high > 1.07


def test_a_small_growth_of_compile_time_is_no_law():
  seconds = 1 + 0.2 * N / N[-1]
  compile_ = laws.fit(N, exact(seconds), overhead=False, negligible=0.1)
  assert abs(compile_.exponent) < 0.1
  assert compile_.verdict == "constant"
  time = laws.fit(N, exact(seconds))
  assert time.exponent == pytest.approx(1, abs=1e-6)


def test_a_growth_smaller_than_the_offset_leads_only_where_it_is_overhead():
  seconds = 1 + 0.8 * N / N[-1]
  whole = laws.fit(N, exact(seconds), overhead=False)
  growth = laws.fit(N, exact(seconds), overhead=True)
  assert whole.offset <= whole.coefficient * N[-1] ** whole.power
  assert whole.exponent < 0.8
  assert growth.exponent == pytest.approx(1, abs=1e-6)
  assert growth.offset == pytest.approx(1, rel=1e-4)


def test_compile_time_that_grows_for_good_is_a_law():
  found = laws.fit(N, exact(1 + 1e-3 * N), overhead=False, negligible=0.1)
  assert found.exponent == pytest.approx(1, abs=1e-6)


def test_memory_on_a_floor_of_noise_is_quadratic():
  rng = np.random.default_rng(6)
  mib = 2.0**20
  bytes_ = 32 * N**2 + rng.uniform(0, 20 * mib, (5, len(N)))
  found = laws.fit(N, scaling.sample(bytes_, 20 * mib), negligible=0.0)
  assert found.exponent == pytest.approx(2, abs=0.1)
  assert found.interval[0] < 2 < found.interval[1]
  assert found.verdict == "quadratic"


def test_a_reading_of_zero_bytes_is_a_reading():
  bytes_ = np.maximum(1e5 * N - 3e7, 0) * np.array([[1.0], [1.01], [1.02]])
  found = laws.fit(N, scaling.sample(bytes_, 2.0**20), negligible=0.0)
  assert found.interval is not None
  assert len(found.slopes) < len(N) - 1
