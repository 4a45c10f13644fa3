"""The cone of laws against SciPy's non-negative least squares."""

import numpy as np
import pytest
from scipy import optimize

from lalm.scaling import cone

N = 2.0 ** np.arange(8, 14)


def problem(scale, overhead=True):
  return cone.Problem(N / N[-1], np.log(N), scale, overhead)


@pytest.mark.parametrize("overhead", [True, False])
@pytest.mark.parametrize("exponent", [0.5, 1.3, 2.0, 2.7])
def test_the_profile_equals_non_negative_least_squares(exponent, overhead):
  rng = np.random.default_rng(0)
  t = N / N[-1]
  first = np.ones_like(t) if overhead else 1 + t**exponent
  parts = [first, t**exponent, t**exponent + t]
  design = np.stack(parts if exponent > 1 else parts[:2], axis=1)
  for _ in range(20):
    values = rng.uniform(0.5, 1, len(t)) * (0.1 + t ** rng.uniform(0.2, 3))
    scale = rng.uniform(0.5, 2, len(t)) * values
    _, norm = optimize.nnls(design / scale[:, None], values / scale)
    task = problem(scale, overhead)
    found = cone.profile(
        task, np.array([exponent]), values[:, None], cone.subsets(task)
    )
    assert found[0, 0] == pytest.approx(norm**2, rel=1e-9)


def test_many_targets_at_once_equal_one_after_the_other():
  rng = np.random.default_rng(1)
  targets = rng.uniform(0.1, 1, (len(N), 7))
  whole = problem(np.ones(len(N)))
  exponents = np.array([0.4, 1.0, 1.9])
  together = cone.profile(whole, exponents, targets)
  apart = [cone.profile(whole, exponents, targets[:, [i]]) for i in range(7)]
  np.testing.assert_allclose(together, np.hstack(apart), rtol=1e-12)


def test_a_leading_term_makes_half_of_what_grows():
  values = 0.6 * N / N[-1] + 0.4 * (N / N[-1]) ** 2
  left = cone.profile(problem(values), np.array([2.0]), values[:, None])[0, 0]
  assert left > 1e-4
  values = 0.5 * N / N[-1] + 0.5 * (N / N[-1]) ** 2
  left = cone.profile(problem(values), np.array([2.0]), values[:, None])[0, 0]
  assert left < 1e-20


def test_without_overhead_a_leading_term_makes_half_of_the_whole():
  values = 0.6 + 0.4 * (N / N[-1]) ** 2
  one = np.array([2.0])
  without = cone.profile(problem(values, False), one, values[:, None])[0, 0]
  beside = cone.profile(problem(values, True), one, values[:, None])[0, 0]
  assert without > 1e-3 and beside < 1e-20
