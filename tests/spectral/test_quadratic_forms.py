"""Symmetry, inertia and the nearest semidefinite matrix."""

import jax.numpy as jnp
import numpy as np
import pytest

from lalm.spectral import quadratic_forms as forms
from tests.spectral import conftest as made

pytestmark = pytest.mark.slow


def _drawn(shape, seed=0):
  return jnp.asarray(
      np.random.default_rng(seed).normal(size=shape), jnp.float32
  )


def test_parts_add_up_and_the_form_sees_one():
  matrix, x = _drawn((3, 6, 6)), _drawn((6,), 1)
  symmetric, antisymmetric = forms.split(matrix)
  np.testing.assert_allclose(symmetric + antisymmetric, matrix, rtol=1e-6)
  np.testing.assert_array_equal(symmetric, symmetric.swapaxes(1, 2))
  np.testing.assert_array_equal(antisymmetric, -antisymmetric.swapaxes(1, 2))
  np.testing.assert_allclose(x @ antisymmetric @ x, 0, atol=1e-5)


def test_symmetry_is_from_minus_one_to_one():
  drawn = _drawn((200, 200))
  assert forms.symmetry(drawn + drawn.T) == pytest.approx(1)
  assert forms.symmetry(drawn - drawn.T) == pytest.approx(-1)
  assert abs(forms.symmetry(drawn)) < 0.05
  assert forms.symmetry(jnp.zeros((3, 3))) == 0


@pytest.mark.parametrize("signs", ((3, 0, 0), (0, 4, 1), (2, 3, 4), (0, 0, 2)))
def test_inertia_is_what_was_prescribed(signs):
  values = np.repeat([2.0, 0.0, -1.0], signs)
  matrix = jnp.asarray(made.symmetric(values), jnp.float32)
  assert tuple(map(int, forms.inertia(matrix))) == signs


def test_inertia_does_not_change_under_congruence():
  """Sylvester's law."""
  matrix = jnp.asarray(made.symmetric([3, 1, -2, -5.0]), jnp.float32)
  change = _drawn((4, 4))
  assert forms.inertia(change.T @ matrix @ change) == forms.inertia(matrix)


def test_definiteness_is_of_the_symmetric_part():
  antisymmetric = jnp.array([[0.0, 5], [-5, 0]])
  assert forms.semidefinite(antisymmetric + jnp.eye(2))
  assert not forms.semidefinite(antisymmetric - jnp.eye(2))
  assert forms.semidefinite(jnp.zeros((2, 2)))


def test_the_nearest_is_semidefinite_and_no_other_is_nearer():
  matrix = _drawn((2, 8, 8))
  near = forms.nearest_semidefinite(matrix)
  assert forms.semidefinite(near, 1e-5).all()
  distance = jnp.linalg.norm(matrix - near, axis=(1, 2))
  values = np.linalg.eigvalsh(np.asarray(forms.split(matrix).symmetric))
  skew = np.linalg.norm(forms.split(matrix).antisymmetric, axis=(1, 2))
  least = np.hypot(np.linalg.norm(np.minimum(values, 0), axis=1), skew)
  np.testing.assert_allclose(distance, least, rtol=1e-5)
  for seed in range(20):
    other = _drawn((8, 8), seed)
    moved = near + 0.01 * other @ other.T
    assert (jnp.linalg.norm(matrix - moved, axis=(1, 2)) > distance).all()


def test_what_is_semidefinite_is_its_own_nearest():
  matrix = jnp.asarray(made.symmetric([3, 1, 0.5]), jnp.float32)
  near = forms.nearest_semidefinite(matrix)
  np.testing.assert_allclose(near, matrix, atol=1e-6)


@pytest.mark.parametrize(
    "call, words",
    (
        (lambda: forms.split(np.ones((2, 3))), r"\[..., N, N\]"),
        (lambda: forms.inertia(np.eye(2), 1.0), "tolerance"),
        (lambda: forms.inertia(np.full((2, 2), np.inf)), "finite"),
    ),
)
def test_what_is_no_form_is_refused(call, words):
  with pytest.raises(ValueError, match=words):
    call()
