"""Candidate laws and how they are weighed."""

import numpy as np
import pytest

from lalm import scaling
from lalm.scaling import cone, fits, inversion
from tests.oracles import costs

N = costs.LENGTHS.astype(float)


def law(squares, parameters, exponent=1.0):
  return fits.Choice(exponent, (1,), N / N[-1], squares, parameters, exponent)


def test_a_term_must_earn_two_units_of_squares():
  variance = 1e-4
  fitted = [law(4e-4, 3), law(2e-4, 4)]
  np.testing.assert_allclose(fits.weigh(fitted, 6, variance), [0.5, 0.5])
  better = [law(4e-4, 3), law(0.0, 4)]
  ratio = np.divide(*fits.weigh(better, 6, variance))
  assert ratio == pytest.approx(np.exp(-1))


def test_a_misfit_larger_than_the_noise_is_the_unit():
  """Left over per degree of freedom by the closest law: 8e-4 / 2."""
  fitted = [law(24e-4, 3), law(8e-4, 4)]
  ratio = np.divide(*fits.weigh(fitted, 6, 1e-8))
  assert ratio == pytest.approx(np.exp(-(4 - 2) / 2))


def test_a_law_with_more_parameters_than_lengths_has_no_weight():
  weights = fits.weigh([law(1e-4, 3), law(0.0, 4)], 3, 1e-4)
  np.testing.assert_array_equal(weights, [1, 0])


def test_the_exponent_is_the_mean_by_weight():
  values = costs.draw(np.random.default_rng(0), "quadratic").values
  data = scaling.sample(values)
  problem = cone.Problem(N / N[-1], np.log(N), data.scale, True)
  subsets = cone.subsets(problem)
  found = inversion.family(problem, data.shape, data.variance, subsets)
  weights = fits.weigh(found.choices, len(N), data.variance)
  exponents = np.array([choice.exponent for choice in found.choices])
  assert weights.max() < 0.99
  assert found.exponent == pytest.approx((weights * exponents).sum())
  assert found.chosen is found.choices[int(weights.argmax())]


def test_the_terms_of_exact_data_are_its_coefficients():
  truth = (2e-4, 3e-7, 0.0, 4e-10)
  values = truth[0] + truth[1] * N + truth[3] * N**2
  np.testing.assert_allclose(
      fits.fit_terms(N, values, values), truth, rtol=1e-8
  )


def test_terms_weigh_small_and_large_values_alike():
  """A relative fit is off by about the same factor at both ends."""
  values = 1e-6 * N * np.array([1.05, 0.95, 1.05, 0.95, 1.05, 0.95])
  terms = fits.fit_terms(N, values, values)
  fitted = (
      terms.one
      + terms.n * N
      + terms.n_log_n * N * np.log(N)
      + terms.n_squared * N**2
  )
  assert min(terms) >= 0
  assert np.abs(fitted / values - 1).max() < 0.08
