"""Fits of power laws against a plain loop, and against laws that were drawn."""

import json

import numpy as np
import pytest

from lalm.spectral import power_law
from tests.golden import power_law as golden


def _pareto(alpha, size, seed=0):
  drawn = np.random.default_rng(seed).uniform(size=size)
  return drawn ** (-1 / (alpha - 1))


def _loop(values, both):
  """Equations (1) and (2) as they stand."""
  x = np.sort(values)
  best = None
  for i in range(len(x) - 1):
    n = len(x) - i
    alpha = 1 + n / np.sum(np.log(x[i:] / x[i]))
    law = 1 - (x[i:] / x[i]) ** (1 - alpha)
    D = np.abs(law - np.arange(n) / n).max()
    if both:
      D = max(D, np.abs(law - np.arange(1, n + 1) / n).max())
    if best is None or D < best[2]:
      best = (alpha, x[i], D, (alpha - 1) / n**0.5, n)
  return best


@pytest.mark.parametrize("rule", power_law.RULES)
@pytest.mark.parametrize("size", (2, 3, 50, 1500))
def test_it_is_what_a_loop_finds(rule, size):
  values = np.random.default_rng(size).gamma(0.5, size=size)
  found = power_law.fit(values, rule)
  np.testing.assert_allclose(found, _loop(values, rule == "clauset"), rtol=1e-9)


def test_it_is_what_the_reference_finds():
  """WeightWatcher's own fit."""
  known = json.loads(golden.PATH.read_text())["fits"]
  found = {name: power_law.fit(values) for name, values in golden.cases()}
  assert set(found) == set(known)
  for name, fit in found.items():
    ours = dict(zip(("alpha", "x_min", "D"), fit))
    assert ours == pytest.approx(known[name], rel=1e-10), name


@pytest.mark.parametrize("alpha", (1.8, 2.5, 4.0))
@pytest.mark.parametrize("rule", power_law.RULES)
def test_a_law_that_was_drawn_is_found(alpha, rule):
  found = power_law.fit(_pareto(alpha, 4000), rule)
  assert abs(found.alpha - alpha) < 4 * found.error + 0.05
  assert found.distance < 0.05


def test_it_begins_where_the_law_does():
  tail = 10 * _pareto(3.0, 2000)
  bulk = np.random.default_rng(1).uniform(0, 10, 2000)
  found = power_law.fit(np.concatenate([bulk, tail]), "clauset")
  assert found.x_min == pytest.approx(10, rel=0.1)
  assert found.tail == pytest.approx(2000, rel=0.1)


def test_a_scale_changes_nothing_but_the_beginning():
  values = _pareto(2.5, 300)
  one, other = power_law.fit(values), power_law.fit(1e8 * values)
  assert other.alpha == pytest.approx(one.alpha, rel=1e-9)
  assert other.x_min == pytest.approx(1e8 * one.x_min, rel=1e-12)


def test_spectra_together_are_as_each_alone():
  values = np.stack([_pareto(2.5, 100), _pareto(3.5, 100, 1)])
  found = power_law.fit(values[:, None])
  assert found.alpha.shape == (2, 1)
  for i in range(2):
    np.testing.assert_array_equal(
        [x[i, 0] for x in found], power_law.fit(values[i])
    )


def test_zeros_are_left_out_and_equal_values_are_no_law():
  values = _pareto(2.5, 60)
  padded = np.concatenate([np.zeros(5), values])
  assert power_law.fit(padded) == power_law.fit(values)
  top = np.concatenate([values, np.full(4, values.max())])
  assert np.isfinite(power_law.fit(top).alpha)


@pytest.mark.parametrize(
    "values, words",
    (
        ([1.0], "two|2 or more"),
        ([0.0, 0, 3], "2 or more"),
        ([2.0, 2, 2], "not all equal"),
        ([1.0, np.inf], "finite"),
        ([], "none empty"),
    ),
)
def test_too_few_values_are_refused(values, words):
  with pytest.raises(ValueError, match=words):
    power_law.fit(np.array(values))
  with pytest.raises(ValueError, match="rule: expected one of"):
    power_law.fit(np.arange(1, 9.0), "other")
