"""Words for intervals."""

import numpy as np
import pytest

from lalm.scaling import verdicts
from tests.oracles import costs

N = costs.LENGTHS.astype(float)


@pytest.mark.parametrize(
    "interval, wide, word",
    [
        ((-0.01, 0.02), (-0.02, 0.03), "constant"),
        ((0.97, 1.02), (0.95, 1.04), "linear"),
        ((1.11, 1.16), (1.1, 1.17), "n log n"),
        ((1.9, 2.2), (1.8, 2.3), "quadratic"),
        ((2.9, 3.1), (2.8, 3.2), "cubic"),
        ((0.4, 0.6), (0.35, 0.65), "sublinear"),
        ((1.4, 1.6), (1.35, 1.65), "between linear and quadratic"),
        ((2.4, 2.6), (2.35, 2.65), "between quadratic and cubic"),
        ((1.002, 1.003), (1.001, 1.004), "linear"),
    ],
)
def test_an_interval_around_one_exponent_has_its_word(interval, wide, word):
  assert verdicts.decide(interval, wide, N) == (word, "")


@pytest.mark.parametrize(
    "interval, wide, reason",
    [
        ((0.98, 1.16), (0.9, 1.2), "admits linear and n log n"),
        ((0.98, 1.05), (0.9, 1.2), "admits linear and n log n"),
        ((1.7, 2.3), (1.6, 2.4), "wider than 0.5"),
        ((1.8, 1.95), (1.7, 2.05), "just misses quadratic"),
        ((1.9, 1.95), (1.85, 1.97), "holds no known exponent"),
        ((-0.3, -0.2), (-0.35, -0.15), "holds no known exponent"),
    ],
)
def test_an_interval_that_does_not_decide_says_why(interval, wide, reason):
  verdict, why = verdicts.decide(interval, wide, N)
  assert verdict == "inconclusive"
  assert reason in why


def test_n_log_n_stands_for_its_slope_over_the_lengths():
  assert verdicts.words(N)["n log n"] == pytest.approx(costs.n_log_n_slope(N))
  longer = verdicts.words(N * 1000)["n log n"]
  assert 1 < longer < verdicts.words(N)["n log n"]


def test_a_length_of_one_has_no_n_log_n():
  assert "n log n" not in verdicts.words(np.array([1.0, 2.0, 4.0]))
