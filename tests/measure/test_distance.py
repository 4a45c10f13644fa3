"""Distances to softmax are those of the approximation, its draw and theory."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.attention import favor_variances
from lalm.attention import features
from lalm.attention import linear
from lalm.attention import local
from lalm.data import text
from lalm.measure import approximations
from lalm.measure import distance
from lalm.measure import environment

_POINT = {
    "mechanism": "performer_independent", "form": "chunkwise",
    "pass": "forward", "length": 48, "batch": 1, "heads": 2, "width": 8,
    "value_width": 8, "dtype": "float32", "causal": False, "chunk": None,
    "corpus": "", "seed": 0, "budget": 16, "sharpness": 0.25,
}  # fmt: skip
_SETTINGS = {"cache": None}


def _measured(replicate=0, **fields):
  point = {**_POINT, **fields}
  if "mechanism" in fields:
    (point["form"],) = approximations.get(fields["mechanism"]).forms
  record = distance.Target().measure(point, replicate, _SETTINGS)
  assert (record["status"], record["reason"]) == ("ok", "")
  assert json.loads(json.dumps(record, allow_nan=False)) == record
  return record


def _relative(**fields):
  return _measured(**fields)["distance"]["relative"]


# Nystrom's needs more iterations than six where landmarks are alike.
@pytest.mark.parametrize(
    ("mechanism", "causal", "rest"),
    [
        ("window", True, 1e-6),
        pytest.param("window", False, 1e-6, marks=pytest.mark.slow),
        ("lsh", True, 1e-6),
        ("linformer", False, 1e-5),  # a rounding, of what is small already
        pytest.param("nystromformer", False, 0.2, marks=pytest.mark.slow),
    ],
)
def test_the_whole_budget_leaves_no_distance(mechanism, causal, rest):
  fields = dict(mechanism=mechanism, causal=causal)
  whole, little = (_relative(**fields, budget=b) for b in (48, 3))
  assert whole < rest * little


def test_means_are_those_of_the_segments():
  x = np.random.default_rng(0).standard_normal((10, 3))
  expected = [part.mean(0) for part in np.array_split(x, 4)]
  got = approximations.means(None, 4, 10) @ jnp.float32(x)
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("window", "count"), ((1, 48), (5, 8), (24, 2), (25, 1), (48, 1))
)
def test_buckets_hold_a_window_and_their_number_is_even_or_one(window, count):
  assert approximations.bucket_count(48, window) == count


def test_queries_of_lsh_are_its_keys():
  q, k, _ = distance.inputs({**_POINT, "mechanism": "lsh"})
  others = distance.inputs(_POINT)
  assert (q == k).all() and (k == others[1]).all()
  assert (q != others[0]).any()


def test_sharpness_multiplies_logits():
  logits = [
      np.einsum("btk,bsk->bts", *(x[:, :, 0] for x in arrays[:2]))
      for arrays in (
          distance.inputs({**_POINT, "sharpness": s}) for s in (1.0, 0.25)
      )
  ]
  np.testing.assert_allclose(logits[1], logits[0] / 4, rtol=1e-4, atol=1e-6)


def _exact(q, k, v, causal):
  x = np.einsum("thk,shk->hts", q, k) / np.sqrt(q.shape[-1])
  x = np.where(np.tri(len(q), dtype=bool) | (not causal), x, -np.inf)
  p = np.exp(x)
  return np.einsum("hts,shv->thv", p / p.sum(-1, keepdims=True), v)


@pytest.mark.parametrize("causal", (False, True))
def test_a_record_is_of_the_features_of_its_replicate(causal):
  record = _measured(causal=causal, replicate=3)
  key = jax.random.fold_in(jax.random.key(0), 3)
  phi = features.favor(key, 8, 16, orthogonal=False)
  q, k, v = distance.inputs(_POINT)
  out = linear.parallel(q, k, v, feature_map=phi, causal=causal).out[0]
  q, k, v = (np.float64(x[0]) for x in (q, k, v))
  exact = _exact(q, k, v, causal)
  norm = np.linalg.norm
  found = record["distance"]
  assert found["relative"] == pytest.approx(
      norm(out - exact) / norm(exact), rel=1e-4
  )
  assert found["edges"] == [0, 1, 2, 4, 8, 16, 32, 48]
  part = slice(8, 16)
  assert found["by_position"][4] == pytest.approx(
      norm((out - exact)[part]) / norm(exact[part]), rel=1e-4
  )
  mean = np.cumsum(v, 0) / np.arange(1, 49)[:, None, None]
  mean = mean if causal else np.broadcast_to(v.mean(0), v.shape)
  assert record["mean"] == pytest.approx(norm(mean - exact) / norm(exact))


def test_another_replicate_draws_anew():
  found = [_relative(replicate=r) for r in (0, 0, 1)]
  assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("causal", (False, True))
def test_the_kernel_is_as_far_as_its_features_and_theory_say(causal):
  record = _measured(causal=causal, length=12)
  key = jax.random.fold_in(jax.random.key(0), 0)
  phi = features.favor(key, 8, 16, orthogonal=False)
  q, k, v = (x[0] for x in distance.inputs({**_POINT, "length": 12}))
  seen = np.tri(12, dtype=bool) | (not causal)
  got, exact, var = [], [], []
  away, size = 0.0, 0.0
  for h in range(2):
    x, y = (favor_variances.scaled(z[:, h]) for z in (q, k))
    got.append(np.asarray(phi(q[:, h]) @ phi(k[:, h]).T)[seen])
    exact.append(np.exp(x @ y.T)[seen])
    var.append(
        favor_variances.variance("positive", x[:, None], y[None], 16)[seen]
    )
    away += favor_variances.output_variance(
        "positive", q[:, h], k[:, h], v[:, h], np.arange(12), 16, causal=causal
    ).sum()
  size = (_exact(*map(np.float64, (q, k, v)), causal) ** 2).sum()
  got, exact, var = map(np.concatenate, (got, exact, var))
  norm = np.linalg.norm
  assert record["kernel"] == pytest.approx(
      norm(got - exact) / norm(exact), rel=1e-3
  )
  theory = record["theory"]
  assert theory["kernel"] == pytest.approx(np.sqrt(var.sum()) / norm(exact))
  assert theory["output"] == pytest.approx(np.sqrt(away / size))


def test_what_is_beyond_float64_is_no_number_and_the_rest_stays():
  record = _measured(sharpness=3000.0)
  assert record["status"] == "ok" and record["distance"]["relative"] > 0
  assert record["theory"]["kernel"] is None


def test_right_angles_lower_what_theory_expects_of_the_kernel():
  known = [
      _measured(mechanism=name)["theory"]
      for name in ("performer_independent", "performer")
  ]
  assert known[1]["kernel"] < known[0]["kernel"]
  assert known[1]["output"] == known[0]["output"]  # of independent features


@pytest.mark.parametrize(
    ("mechanism", "own"),
    (("performer", 32), ("linformer", 12), ("nystromformer", 48), ("lsh", 128)),
)
def test_without_a_budget_it_is_the_mechanisms_own(mechanism, own):
  (form,) = approximations.get(mechanism).forms
  point = {**_POINT, "mechanism": mechanism, "form": form, "budget": 0}
  assert distance.program(point).budget == own


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"mechanism": "nystromformer", "budget": 49}, "landmarks: .* 48"),
        (
            {"mechanism": "linformer", "budget": 49},
            "at most 48 projected keys, .* got 49",
        ),
        ({"mechanism": "nystromformer", "causal": True}, "causal: expected"),
        ({"mechanism": "lsh", "chunk": -1}, "chunk: expected an integer"),
        ({"mechanism": "softmax"}, "mechanism: expected one of performer"),
        ({"form": "step"}, "form: expected chunkwise, got 'step'"),
    ],
)
def test_what_does_not_fit_is_named_before_it_is_measured(fields, words):
  point = {**_POINT, **fields}
  if fields.get("mechanism") in approximations.names():
    (point["form"],) = approximations.get(fields["mechanism"]).forms
  with pytest.raises(ValueError, match=words):
    distance.Target().plan(point, _SETTINGS)


def test_a_window_of_nothing_is_named():
  form = catalogue.get("window").forms["chunkwise"]
  with pytest.raises(ValueError, match="window: expected an integer >= 1"):
    form(*distance.inputs(_POINT), window=0)


def test_an_output_that_is_not_finite_says_so():
  point = {**_POINT, "mechanism": "performer_trigonometric"}
  record = distance.Target().measure({**point, "sharpness": 1e4}, 0, _SETTINGS)
  assert record["status"] == "not_finite"
  assert "768 values are not finite" in record["reason"]


def test_a_key_is_of_the_program_and_of_what_it_is_beside(monkeypatch):
  monkeypatch.setattr(environment, "fingerprint", lambda: "here")
  others = ({"budget": 8}, {"sharpness": 1.0})
  key = lambda **fields: distance.Target().plan(
      {**_POINT, **fields}, _SETTINGS
  )["key"]
  window = {"mechanism": "window"}  # quick to lower
  before = key(**window)
  assert key(**window) == before
  assert len({before, *(key(**window, **f) for f in others)}) == 3
  read = text.digest
  monkeypatch.setattr(text, "digest", lambda *corpus: read(*corpus) + "more")
  assert key(**window) != before
  monkeypatch.undo()
  monkeypatch.setattr(environment, "fingerprint", lambda: "here")
  monkeypatch.setattr(distance, "_FOLLOWS", distance._FOLLOWS[:1])
  assert key(**window) != before


def test_a_key_is_of_how_buckets_are_drawn(monkeypatch):
  point = {**_POINT, "mechanism": "lsh", "form": "chunkwise"}
  point |= {"length": 64, "budget": 16}
  key = lambda: distance.Target().plan(point, _SETTINGS)["key"]
  before, hashed = key(), local.buckets
  assert key() == before
  other = lambda key, k, count: hashed(key, -k, count)
  monkeypatch.setattr(local, "buckets", other)
  assert key() != before
