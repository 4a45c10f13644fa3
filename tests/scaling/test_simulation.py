"""Errors, coverage and verdicts on synthetic kernels.

Kernels a + b n + c n^2 and n log n and constants, overhead up to 300 us, 3 %
noise common to a worker and 3 % per point, five workers, 256 to 8192.
"""

import collections
from typing import NamedTuple

import numpy as np
import pytest

from lalm import scaling
from tests.oracles import costs

N = costs.LENGTHS.astype(float)
KINDS = ("linear", "quadratic", "n log n", "constant")


class Score(NamedTuple):
  """What became of many draws."""

  error: np.ndarray
  covered: float
  wrong: int
  inconclusive: float


def score(kinds, draws, seed):
  """Fits `draws` kernels of kinds in turn."""
  rng = np.random.default_rng(seed)
  error, covered, words = [], [], collections.Counter()
  for i in range(draws):
    values, truth, word = costs.draw(rng, kinds[i % len(kinds)])
    found = scaling.fit(N, scaling.sample(values))
    error.append(abs(found.exponent - truth))
    low, high = found.interval
    covered.append(low - 1e-9 <= truth <= high + 1e-9)
    right = found.verdict in (word, "inconclusive")
    words[found.verdict if right else "wrong"] += 1
  return Score(
      np.array(error),
      float(np.mean(covered)),
      words["wrong"],
      words["inconclusive"] / draws,
  )


def told(name, found):
  return (
      f"{name}: median error {np.median(found.error):.4f}, 95th"
      f" {np.quantile(found.error, 0.95):.4f}, covered {found.covered:.3f},"
      f" wrong {found.wrong}, inconclusive {found.inconclusive:.3f}"
  )


def test_a_few_kernels_have_small_errors_and_no_wrong_word():
  found = score(KINDS, 60, seed=0)
  print(told("all", found))
  assert np.median(found.error) <= 0.03
  assert np.quantile(found.error, 0.95) <= 0.1
  assert found.covered >= 0.9
  assert found.wrong == 0
  assert found.inconclusive <= 0.15


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_500_kernels_of_a_kind_are_covered_and_none_is_misnamed(kind):
  found = score((kind,), 500, seed=1)
  print(told(kind, found))
  assert np.median(found.error) <= 0.03
  assert np.quantile(found.error, 0.95) <= 0.1
  assert found.covered >= 0.9
  assert found.wrong == 0
  assert found.inconclusive <= 0.15


@pytest.mark.slow
def test_600_kernels_of_all_kinds_have_no_wrong_word():
  found = score(KINDS, 600, seed=2)
  print(told("all", found))
  assert found.wrong == 0
  assert np.median(found.error) <= 0.03
  assert np.quantile(found.error, 0.95) <= 0.1
  assert found.covered >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3, 8])
def test_other_numbers_of_workers_cover_too(workers):
  rng = np.random.default_rng(3)
  covered, wrong = [], 0
  for i in range(200):
    cost, truth, word = (
        (1e-4 + 2e-6 * N, 1, "linear"),
        (1e-4 + 1e-6 * N + 1e-9 * N**2, 2, "quadratic"),
    )[i % 2]
    values = costs.noisy(rng, cost, workers)
    found = scaling.fit(N, scaling.sample(values))
    covered.append(found.interval[0] <= truth <= found.interval[1])
    wrong += found.verdict not in (word, "inconclusive")
  print(f"{workers} workers: covered {np.mean(covered):.3f}, wrong {wrong}")
  assert np.mean(covered) >= 0.9 and wrong == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "cost, truth", [(1e-6 * N, 1), (1e-4 + 1e-9 * N**2, 2)]
)
def test_workers_whose_errors_hang_together_are_covered(cost, truth):
  """Each worker has an exponent of its own, 2 % off, beside the noise."""
  rng = np.random.default_rng(4)
  covered = []
  for _ in range(200):
    tilt = (N / 1448) ** (0.02 * rng.standard_normal((costs.WORKERS, 1)))
    values = costs.noisy(rng, cost) * tilt
    low, high = scaling.fit(N, scaling.sample(values)).interval
    covered.append(low <= truth <= high)
  print(f"exponent {truth}: covered {np.mean(covered):.3f}")
  assert np.mean(covered) >= 0.9
