"""The law of random matrices against random matrices."""

import numpy as np
import pytest
from scipy import integrate

from lalm.spectral import marchenko_pastur as law
from tests.spectral import conftest as made

pytestmark = pytest.mark.slow

_SHAPES = ((900, 300), (300, 300), (200, 1000))


def _noise(shape, seed=0):
  return np.random.default_rng(seed).normal(scale=0.3, size=shape)


@pytest.mark.parametrize("shape", _SHAPES)
def test_noise_is_told_from_its_spectrum(shape):
  values = np.linalg.svd(_noise(shape), compute_uv=False)
  found = law.fit(values, shape)
  assert found.variance == pytest.approx(0.09, rel=0.03)
  assert found.spikes <= 2 and found.distance < 0.03
  assert values[0] ** 2 / max(shape) == pytest.approx(found.high, rel=0.05)


def test_the_integral_is_that_of_the_density():
  shape = (300, 100)
  q, (a, b) = 1 / 3, law.edges(shape)
  density = lambda x: ((b - x) * (x - a)) ** 0.5 / (2 * np.pi * q * x)
  for x in np.linspace(a, b, 7)[1:]:
    expected = integrate.quad(density, a, x)[0]
    assert law.cumulative(x, shape) == pytest.approx(expected, abs=1e-5)


def test_of_a_square_matrix_the_density_has_no_end_at_zero():
  """P(x) = share of a quarter circle's law of s = sqrt(x)."""
  s = np.linspace(0.05, 2, 9)
  quarter = (s * (4 - s**2) ** 0.5 / 2 + 2 * np.arcsin(s / 2)) / np.pi
  np.testing.assert_allclose(law.cumulative(s**2, (9, 9)), quarter, atol=1e-4)


def test_what_is_planted_is_counted():
  shape = (600, 200)
  planted = made.prescribed(shape, [40, 35, 30.0])
  values = np.linalg.svd(_noise(shape) + planted, compute_uv=False)
  found = law.fit(values, shape)
  assert 3 <= found.spikes <= 4
  assert found.variance == pytest.approx(0.09, rel=0.05)


def test_a_single_entry_is_a_trap_and_noise_is_none():
  matrix = _noise((300, 200))
  assert law.traps(matrix, 0) == 0
  matrix[3, 5] = 30
  assert law.traps(matrix, 0) == 1


def test_structure_without_large_entries_is_no_trap():
  planted = made.prescribed((300, 200), [60.0, 50])
  assert law.traps(_noise((300, 200)) + planted, 0) == 0


@pytest.mark.parametrize("seed", range(5))
def test_one_entry_just_above_the_noise_is_a_trap(seed):
  """Of an entry a the value is sqrt((a^2 + m) (a^2 + n)) / a."""
  matrix = _noise((300, 200), seed)
  assert law.traps(matrix, seed) == 0
  matrix[0, 0] = 26.5 * 0.3
  assert law.traps(matrix, seed) == 1


@pytest.mark.parametrize(
    "call, words",
    (
        (lambda: law.edges((0, 3)), "above 0"),
        (lambda: law.edges((2, 3), 0.0), "above 0"),
        (lambda: law.fit(np.ones(3), (4, 2)), r"expected \[2\]"),
        (lambda: law.fit(np.array([1.0, 0, 0]), (3, 3)), "median"),
        (lambda: law.traps(np.ones((3, 3)), 0), "above 0"),
    ),
)
def test_what_has_no_law_is_refused(call, words):
  with pytest.raises(ValueError, match=words):
    call()
