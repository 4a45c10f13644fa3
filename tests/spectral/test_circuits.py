"""Circuits as thin factors against the matrices they never make."""

import jax.numpy as jnp
import numpy as np
import pytest

from lalm.spectral import circuits
from lalm.spectral import quadratic_forms

pytestmark = pytest.mark.slow

_D, _H, _K = 24, 4, 3


def _drawn(*shape, seed=0):
  return jnp.asarray(
      np.random.default_rng(seed).normal(size=shape), jnp.float32
  )


def _whole(circuit):
  return np.asarray(circuit.left @ circuit.right.swapaxes(-1, -2), np.float64)


def test_scores_are_the_form_of_tokens():
  q, k, x = _drawn(12, _D), _drawn(12, _D, seed=1), _drawn(5, _D, seed=2)
  found = x @ _whole(circuits.qk(q, k, _H)) @ x.T
  heads = lambda w: (x @ w.T).reshape(5, _H, _K)
  expected = jnp.einsum("thk,shk->hts", heads(q), heads(k))
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_moved_is_a_sum_over_heads():
  o, v, x = _drawn(_D, 12), _drawn(12, _D, seed=1), _drawn(5, _D, seed=2)
  moved = x @ _whole(circuits.ov(o, v, _H)).swapaxes(1, 2)
  np.testing.assert_allclose(moved.sum(0), x @ v.T @ o.T, rtol=1e-4, atol=1e-4)


def test_heads_share_keys_in_groups():
  q, k = _drawn(12, _D), _drawn(6, _D, seed=1)
  found = circuits.qk(q, k, _H)
  np.testing.assert_array_equal(found.right[0], found.right[1])
  np.testing.assert_array_equal(found.right[2], k[3:].T)


def _batch():
  return circuits.Factored(_drawn(2, _H, _D, _K), _drawn(2, _H, _D, _K, seed=1))


def test_singular_values_are_those_of_the_whole():
  expected = np.linalg.svd(_whole(_batch()), compute_uv=False)
  found = circuits.values(_batch())
  np.testing.assert_allclose(found, expected[..., :_K], rtol=1e-5)
  np.testing.assert_allclose(expected[..., _K:], 0, atol=1e-4)


def test_eigenvalues_are_those_of_the_whole():
  whole = np.linalg.eigvals(_whole(_batch()))
  largest = np.take_along_axis(
      whole, np.argsort(-abs(whole), axis=-1)[..., :_K], axis=-1
  )
  order = lambda x: np.sort_complex(np.round(np.asarray(x, complex), 3))
  np.testing.assert_allclose(
      order(circuits.eigenvalues(_batch())), order(largest), atol=2e-2
  )


def test_the_form_has_the_inertia_of_the_whole():
  found = circuits.form_values(_batch())
  symmetric = _whole(_batch())
  symmetric = (symmetric + symmetric.swapaxes(-1, -2)) / 2
  expected = np.linalg.eigvalsh(symmetric)
  expected = np.concatenate([expected[..., :_K], expected[..., -_K:]], -1)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
  signs = quadratic_forms.of_values(found)
  assert (signs.positive == _K).all() and (signs.negative == _K).all()


def test_a_projection_copies_and_its_negative_takes_away():
  left = jnp.linalg.qr(_drawn(_D, _K))[0]
  assert circuits.copying(circuits.Factored(left, left)) == pytest.approx(1)
  assert circuits.copying(circuits.Factored(left, -left)) == pytest.approx(-1)
  assert circuits.copying(circuits.Factored(left, 0 * left)) == 0


def test_a_turn_neither_copies_nor_repels():
  turn = jnp.array([[0.0, 1], [-1, 0]])
  plane = jnp.linalg.qr(_drawn(_D, 2))[0]
  found = circuits.copying(circuits.Factored(plane, plane @ turn))
  assert found == pytest.approx(0, abs=1e-6)


def test_composition_is_the_share_of_the_norm_that_is_left():
  second, first = _batch(), circuits.Factored(*reversed(_batch()))
  norm = lambda x: np.linalg.norm(x, axis=(-2, -1))
  a, b = _whole(second), _whole(first)
  expected = norm(a @ b) / norm(a) / norm(b)
  found = circuits.composition(second, first)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_composition_is_one_where_a_head_reads_what_another_writes():
  one = jnp.linalg.qr(_drawn(_D, 1))[0]
  other = jnp.linalg.qr(jnp.concatenate([one, _drawn(_D, 1, seed=3)], 1))[0][
      :, 1:
  ]
  first = circuits.Factored(one, other)
  assert circuits.composition(
      circuits.Factored(other, one), first
  ) == pytest.approx(1)
  assert circuits.composition(first, first) == pytest.approx(0, abs=1e-6)


def test_through_an_embedding_it_is_from_tokens_to_tokens():
  embedding = _drawn(50, _D, seed=5)
  found = _whole(circuits.through(_batch(), embedding))
  np.testing.assert_allclose(
      found, embedding @ _whole(_batch()) @ embedding.T, rtol=2e-3, atol=2e-3
  )


def test_the_transpose_is_turned():
  np.testing.assert_array_equal(
      _whole(circuits.turned(_batch())), _whole(_batch()).swapaxes(-1, -2)
  )


@pytest.mark.parametrize(
    "call, words",
    (
        (lambda: circuits.qk(np.ones((12, 5)), np.ones((12, 5)), 5), "divisor"),
        (lambda: circuits.qk(np.ones((12, 5)), np.ones((9, 5)), 4), "group"),
        (lambda: circuits.qk(np.ones((12, 5)), np.ones((7, 5)), 4), "group"),
        (
            lambda: circuits.ov(np.ones((6, 12)), np.ones((12, 5)), 4),
            r"v: .*6\]",
        ),
    ),
)
def test_what_is_of_no_heads_is_refused(call, words):
  with pytest.raises(ValueError, match=words):
    call()
