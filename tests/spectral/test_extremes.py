"""What is far from 1, of little rank, or nothing: a result, never a NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.linear_operators import products
from lalm.spectral import circuits
from lalm.spectral import columns
from lalm.spectral import condition
from lalm.spectral import lanczos
from lalm.spectral import maps
from lalm.spectral import marchenko_pastur
from lalm.spectral import power_law
from lalm.spectral import quadratic_forms
from lalm.spectral import quadrature
from lalm.spectral import rounding
from lalm.spectral import similarity
from lalm.spectral import singular
from lalm.spectral import trace
from tests.spectral import conftest as made

_KEY = jax.random.key(0)
_SCALES = (1e-18, 1.0, 1e18)


def _drawn(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("estimator", (trace.xtrace, trace.xnystrace))
@pytest.mark.parametrize(
    "values", ((1, 2, 3), (5,), (0,), (1e18,) * 50, (1e-18,) * 50)
)
def test_a_trace_of_few_eigenvalues_is_found(estimator, values):
  spectrum = jnp.zeros(50).at[: len(values)].set(jnp.array(values))
  found = estimator(products.diagonal(spectrum), _KEY, 50, 20)
  np.testing.assert_allclose(found.value, sum(values), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("first", (True, False))
def test_a_residual_is_what_it_is_though_a_column_has_ended(seed, first):
  """The first of two columns is an eigenvector: nothing is left of it."""
  values = np.append(np.linspace(0, 1, 39), 1.5)
  basis = np.linalg.qr(_drawn(40, 40, seed=seed).astype(np.float64))[0]
  matrix = jnp.asarray(basis * values @ basis.T, jnp.float32)
  start = np.stack([basis[:, -1], _drawn(40, seed=seed + 9)], axis=1)
  start = jnp.asarray(start if first else start[:, ::-1], jnp.float32)
  found = lanczos.largest(products.dense(matrix), start, 10, 4, tolerance=1e-3)
  apart = matrix @ found.vectors - found.vectors * found.values
  actual = np.linalg.norm(apart, axis=0)
  np.testing.assert_allclose(found.residual, actual, rtol=0.1, atol=2e-5)


@pytest.mark.parametrize("scale", (1e-8, 1.0, 1e8))
def test_a_condition_by_products_does_not_depend_on_the_scale(scale):
  matrix = made.prescribed((64, 64), np.geomspace(1, 100, 64)) * scale
  matrix = jnp.asarray(matrix, jnp.float32)
  found = condition.by_products(
      products.gram(matrix), products.inverse_gram(matrix), _KEY, 64
  )
  assert found.value == pytest.approx(100, rel=0.05) and found.converged


@pytest.mark.parametrize("matrix", (np.diag([1.0, 2, 0]), np.zeros((3, 3))))
def test_what_is_singular_has_an_infinite_condition_by_products(matrix):
  matrix = jnp.asarray(matrix, jnp.float32)
  found = condition.by_products(
      products.gram(matrix), products.inverse_gram(matrix), _KEY, 3, 6
  )
  assert found.value == jnp.inf and not found.converged


@pytest.mark.parametrize("scale", _SCALES)
def test_shares_do_not_depend_on_the_scale(scale):
  matrix, x = _drawn(12, 12), _drawn(2, 30, 5)
  found = quadratic_forms.symmetry(jnp.asarray(matrix * np.float32(scale)))
  assert found == pytest.approx(
      float(quadratic_forms.symmetry(matrix)), abs=1e-5
  )
  far = similarity.cka(x * np.float32(scale), x)
  np.testing.assert_allclose(far, similarity.cka(x, x), atol=1e-5)
  ov = circuits.Factored(jnp.asarray(_drawn(12, 4)), jnp.asarray(_drawn(12, 4)))
  scaled = circuits.Factored(ov.left * scale, ov.right)
  for of in (circuits.copying, lambda c: circuits.composition(c, ov)):
    np.testing.assert_allclose(of(scaled), of(ov), rtol=1e-4)
  far = maps.residual(jnp.asarray(x * np.float32(scale)))
  np.testing.assert_allclose(far, maps.residual(jnp.asarray(x)), rtol=1e-5)
  noise = _drawn(80, 60).astype(np.float64) * scale
  assert marchenko_pastur.traps(noise, 0) == 0
  noise[0, 0] = 20 * scale
  assert marchenko_pastur.traps(noise, 0) == 1


def test_representations_of_16_bits_are_alike():
  x = (_drawn(2, 200, 30) * 40).astype(np.float16)
  expected = similarity.cka(x.astype(np.float32), x.astype(np.float32))
  np.testing.assert_allclose(similarity.cka(x, x), expected, atol=1e-5)


def test_what_is_nothing_is_nothing():
  nothing = jnp.zeros((3, 4))
  assert not maps.captured(np.zeros((2, 3))).any()
  assert not maps.residual(nothing).any()
  assert quadratic_forms.symmetry(jnp.zeros((3, 3))) == 0
  assert rounding.foreseen(nothing, jnp.ones((2, 4)), "float16").max() == 0
  assert rounding.measured(nothing, jnp.ones((2, 4)), "float16").max() == 0
  found = columns.interpolative(jnp.diag(jnp.array([1.0, 0, 0, 0])), 3)
  assert jnp.isfinite(found.coefficients).all()
  gradient = jax.grad(lambda x: quadratic_forms.symmetry(x))(jnp.eye(3))
  assert jnp.isfinite(gradient).all()


def test_who_breaks_in_16_bits_is_foreseen_or_infinite():
  matrix, x = _drawn(30, 40), _drawn(20, 40)
  assert (rounding.measured(matrix, x * 1e5, "float16") == jnp.inf).all()
  assert jnp.isfinite(rounding.measured(matrix, x * 1e5, "bfloat16")).all()
  small = matrix * 1e-7  # below what float16 has a mantissa for
  ratio = rounding.measured(small, x, "float16") / rounding.foreseen(
      small, x, "float16"
  )
  assert 0.7 < jnp.median(ratio) < 1.4
  for scale in (1e-25, 1e20):
    far = rounding.foreseen(matrix * scale, x, "bfloat16")
    near = rounding.foreseen(matrix, x, "bfloat16")
    np.testing.assert_allclose(far, near, rtol=0.01)


def test_values_equal_but_for_rounding_have_no_power_law():
  with pytest.raises(ValueError, match="not all equal"):
    power_law.fit(1 + 1e-15 * np.arange(50))
  tied = np.array([1, 2, 3, 7, 7 * (1 + 2e-16), 7 * (1 + 4e-16)])
  assert power_law.fit(tied).alpha < 10


def test_operators_may_be_functions_and_of_float64():
  with jax.enable_x64(True):
    matrix = jnp.asarray(made.prescribed((40, 40), np.linspace(1, 2, 40)))
    matrix = matrix @ matrix.T
    own = lambda x: matrix @ x
    found = quadrature.density(own, _KEY, 40, 40, 40)
    assert found.nodes.dtype == jnp.float64
    assert quadrature.trace(found, 40, lambda x: x).value == pytest.approx(
        float(jnp.trace(matrix)), rel=0.05
    )


@pytest.mark.parametrize(
    "call, message",
    (
        (lambda: singular.tall(jnp.ones((4, 3)), 0), "count: expected 1 to 3"),
        (
            lambda: condition.by_products(abs, abs, _KEY, 8, 1),
            "products: expected 2 or more, got 1",
        ),
        (
            lambda: lanczos.basis(abs, jnp.ones((3, 4)), 1),
            r"start: expected \[N, b\], b <= N",
        ),
        (
            lambda: rounding.measured(np.array([[np.nan]]), 1, "float16"),
            "matrix: expected finite",
        ),
    ),
)
def test_what_will_not_do_is_refused(call, message):
  with pytest.raises(ValueError, match=message):
    call()


@pytest.mark.parametrize("dtype", (jnp.bfloat16, jnp.float16))
def test_matrices_of_16_bits_have_values(dtype):
  matrix = jnp.asarray(_drawn(8, 5), dtype)
  found = singular.values(matrix)
  exact = np.linalg.svd(np.asarray(matrix, np.float64), compute_uv=False)
  np.testing.assert_allclose(found, exact, rtol=1e-5)
  columns.pivoted(matrix)


def test_forms_wider_than_half_of_the_model_have_all_their_values():
  both = circuits.Factored(jnp.asarray(_drawn(6, 5)), jnp.asarray(_drawn(6, 5)))
  dense = np.asarray(both.left @ both.right.T, np.float64)
  exact = np.linalg.eigvalsh((dense + dense.T) / 2)
  np.testing.assert_allclose(circuits.form_values(both), exact, atol=1e-4)
