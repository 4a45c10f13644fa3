"""Numbers of records against what they are of, in a model made by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.anatomy import attention
from lalm.anatomy import heads
from lalm.anatomy import linearised
from lalm.anatomy import maps_of_text
from lalm.anatomy import matrices
from lalm.anatomy import precision
from lalm.models import captured
from lalm.models.weights import Matrix
from lalm.models.weights import Weights
from tests.spectral import conftest as made

pytestmark = pytest.mark.slow

_KEY = jax.random.key(0)


def _drawn(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype("f4")


def test_a_matrix_says_what_it_was_made_of():
  values = np.geomspace(10, 0.1, 60)
  own = Matrix("a", "q", 3, made.prescribed((60, 80), values))
  found = matrices.report(own, 0)
  assert found["shape"] == [60, 80] and found["layer"] == 3
  assert found["spectral"] == pytest.approx(10)
  assert found["condition"] == pytest.approx(100, rel=1e-4)
  assert found["frobenius"] == pytest.approx(np.linalg.norm(values), rel=1e-5)
  assert found["nuclear"] == pytest.approx(values.sum(), rel=1e-5)
  assert found["numerical_rank"] == 60 and found["traps"] == 0
  np.testing.assert_allclose(found["values"], values, rtol=1e-5)


def test_noise_has_no_spikes_and_what_is_planted_has():
  noise = Matrix("a", "v", 0, _drawn(200, 200))
  assert matrices.report(noise, 0)["spikes"] <= 2
  planted = noise.values + made.prescribed((200, 200), [90.0, 80])
  found = matrices.report(noise._replace(values=planted), 0)
  assert 2 <= found["spikes"] <= 4


@pytest.mark.parametrize(
    "values", (np.zeros((4, 4)), np.eye(4), np.ones((3, 5)))
)
def test_what_has_no_law_has_numbers_all_the_same(values):
  found = matrices.report(Matrix("a", "k", 0, values), 0)
  assert "alpha" not in found and found["role"] == "k"
  assert found["condition"] in (None, 1)


def _captured(T=16, seed=0):
  """Two layers, the second of which sees one key alone."""
  q, k, v = (
      jnp.asarray(_drawn(2, 1, T, 2, 4, seed=seed + i)) for i in range(3)
  )
  maps = jnp.stack([captured.weights(a, b) for a, b in zip(q, k)])
  maps = maps.at[1].set(jnp.eye(T)[0])
  hidden = jnp.asarray(_drawn(3, 1, T, 8, seed=9)).at[2].set(1.0)
  return captured.Captured(hidden, q, k, v, maps, {})


def test_maps_are_told_by_layer_and_head():
  own = _captured()
  found = attention.report(lambda: own, False)
  assert found["entropy"][1] == [0, 0] and found["effective_rank"][1] == [1, 1]
  assert found["captured"][1] == [1, 1]
  values = np.linalg.svd(
      np.asarray(own.attention[0, 0], "f8"), compute_uv=False
  )
  expected = (values[:, :4].sum(1) / values.sum(1)).tolist()
  assert found["captured"][0] == pytest.approx(expected, rel=1e-3)
  assert found["curve"][0][-1] == 1 and found["curve_places"][-1] == 16
  assert found["residual"]["whole"][2] < 1e-6 < found["residual"]["whole"][1]


def test_variants_are_asked_for_where_there_are_any():
  asked = []

  def capture(**parts):
    asked.append(parts)
    return _captured()

  found = attention.report(capture, True)
  assert list(found["residual"]) == [
      "whole", "no skips", "no networks", "attention alone",
  ]  # fmt: skip
  assert asked == [
      {}, {"skips": False}, {"network": False},
      {"skips": False, "network": False},
  ]  # fmt: skip


@pytest.mark.parametrize("name", linearised.NAMES)
def test_stand_ins_have_errors_and_more_budget_has_less(name):
  found = linearised.report(name, _captured(T=64), False, _KEY)["errors"]
  each = [np.mean(errors) for errors in found.values()]
  assert all(0 <= x < 3 for x in each) and each[0] > 1e-3
  if name in ("linformer", "nystromformer"):
    assert list(found) == ["16", "64"]
    assert each[1] < 0.2 * each[0]  # as many as there are keys
  if name in ("linear", "based"):
    assert list(found) == ["fixed"]


@pytest.mark.parametrize(
    "name, length, message",
    (
        ("linformer", 32, "expected a model that is not causal"),
        ("nystromformer", 32, "expected a model that is not causal"),
        ("maps", 257, "at most 256, the model's capacity, got 257"),
    ),
)
def test_what_a_model_cannot_do_is_refused_before_it_is_tried(
    name, length, message
):
  point = {"weights": "own", "corpus": "", "mechanism": name, "length": length}
  with pytest.raises(ValueError, match=message):
    maps_of_text.TARGET.plan(point, {})


@pytest.mark.parametrize("name", ("performer", "linear", "based", "maps"))
def test_what_a_model_can_do_is_planned(name):
  point = {"weights": "own", "corpus": "", "mechanism": name, "length": 256}
  assert maps_of_text.TARGET.plan(point, {})["key"]


def test_rounding_is_of_what_a_matrix_multiplies():
  inputs = {"q": jnp.asarray(_drawn(2, 1, 40, 8)), "o": jnp.ones((2, 1, 40, 8))}
  own = [
      Matrix("a", "k", 1, _drawn(8, 8)), Matrix("b", "o", 0, _drawn(8, 8)),
      Matrix("c", "mlp_in", 0, _drawn(8, 8)),
      Matrix("d", "embedding", None, _drawn(9, 8)),
  ]  # fmt: skip
  found = precision.report(own, inputs)
  assert [m["name"] for m in found] == ["a", "b"]
  first = found[0]
  ratio = first["measured bfloat16"] / first["foreseen bfloat16"]
  assert 0.6 < ratio < 1.6
  assert first["measured float16"] < first["measured bfloat16"] / 4
  x = np.asarray(inputs["q"][1, 0], "f8")
  gram = np.linalg.cond(x.T @ x)
  assert first["gram_condition"] == pytest.approx(gram, rel=1e-3)
  assert found[1]["gram_condition"] is None or found[1]["gram_condition"] > 1e12


def _weights(**changes):
  """Two layers of two heads; the first copies, the second takes away."""
  D = 8
  basis = made.orthogonal(D, D).astype("f4")
  roles = {
      "q": basis, "k": basis, "v": basis, "o": basis.T * np.repeat([1, -1], 4),
  }  # fmt: skip
  own = [Matrix("e", "embedding", None, _drawn(50, D))]
  own += [
      Matrix(f"{role}{layer}", role, layer, x)
      for layer in range(2)
      for role, x in roles.items()
  ]
  return Weights(tuple(own), heads=2)._replace(**changes)


def test_heads_that_copy_and_repel_are_told():
  found = heads.report(_weights())
  np.testing.assert_allclose(found["copying"], [[1, -1]] * 2, atol=1e-3)
  assert all(a > 0.9 and b < -0.9 for a, b in found["copying_tokens"])
  np.testing.assert_allclose(found["like"], 1, atol=1e-3)
  np.testing.assert_allclose(found["symmetry"], 1, atol=1e-3)
  assert found["positive"] == [[4, 4]] * 2


def test_later_heads_read_of_earlier_ones():
  found = heads.report(_weights())["composition"]
  assert set(found) == {"q", "k", "v"}
  for scores in found.values():
    assert scores[0][0] == [[None, None], [None, None]]
    # A head reads where the same head before it has written.
    np.testing.assert_allclose(scores[1][0][0], [0.5, 0], atol=1e-3)
    assert scores[1][0][1] == [None, None]


def test_heads_must_be_known():
  with pytest.raises(ValueError, match="expected a number of heads"):
    heads.report(_weights(heads=None))
  with pytest.raises(ValueError, match="expected layers"):
    heads.report(_weights(matrices=()))
