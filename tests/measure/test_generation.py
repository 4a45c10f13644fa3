"""Sequences made token by token: the same tokens, and what they take."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.measure import ceilings
from lalm.measure import decoder
from lalm.measure import generation
from lalm.measure import timing

pytestmark = pytest.mark.usefixtures("quickly_compiled")

_POINT = {
    "mechanism": "softmax", "form": "state", "pass": "forward", "length": 30,
    "batch": 2, "heads": 2, "width": 8, "value_width": 8, "layers": 2,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
# A cache, a ring, sums with a normaliser and with a decay.
_QUICK = ("softmax", "window", "linear", "hgrn2")
_SETTINGS = {"point_budget": 0.02, "cache": None, "seed": 0, "gate": True}


@pytest.fixture(autouse=True)
def _known_ceilings(monkeypatch):
  monkeypatch.setattr(ceilings, "measure", lambda dtype: {})


def test_models_are_made_of_what_has_a_state_and_no_gates():
  assert {"softmax", "linear", "window"} <= set(generation.names())
  assert not {"mamba2", "linformer", "lsh"} & set(generation.names())
  with pytest.raises(ValueError, match="no gates, got 'mamba2'"):
    generation.get("mamba2")


def _layer_in_numpy(layer, x, heads):
  """Equation (1) of `decoder` with causal softmax attention, `[T, D]`."""
  normal = lambda y: (y - y.mean(-1, keepdims=True)) / np.sqrt(
      y.var(-1, keepdims=True) + 1e-6
  )
  q, k, v = np.split(normal(x) @ np.float64(layer.inputs), 3, axis=-1)
  out = []
  for head in range(heads):
    part = slice(head * len(q[0]) // heads, (head + 1) * len(q[0]) // heads)
    scores = q[:, part] @ k[:, part].T / np.sqrt(len(q[0]) // heads)
    scores[np.triu_indices(len(q), 1)] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    out.append(p / p.sum(-1, keepdims=True) @ v[:, part])
  x = x + np.concatenate(out, -1) @ np.float64(layer.output)
  inner = normal(x) @ np.float64(layer.up)
  return x + np.float64(jax.nn.gelu(jnp.float32(inner))) @ np.float64(
      layer.down
  )


def test_a_model_has_as_many_layers_as_are_asked_for():
  point = {**_POINT, "layers": 96, "heads": 1, "width": 1, "length": 2}
  assert len(decoder.model(point).layers) == 96


def test_a_model_without_a_state_is_its_equations():
  weights = decoder.model(_POINT)
  tokens = np.random.default_rng(1).integers(256, size=(2, 11))
  _, scores = decoder.stateless(_POINT)(weights, jnp.asarray(tokens))
  for sequence, found in zip(tokens, scores):
    x = np.float64(weights.tokens)[sequence] + np.float64(weights.places)[:11]
    for layer in weights.layers:
      x = _layer_in_numpy(layer, x, 2)
    last = (x[-1] - x[-1].mean()) / np.sqrt(x[-1].var() + 1e-6)
    expected = last @ np.float64(weights.head)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
        for name in generation.names()
    ],
)
def test_tokens_with_a_state_are_those_without(name):
  point = {**_POINT, "mechanism": name}
  weights = decoder.model(point)
  run, states = decoder.with_state(point), decoder.states(point)
  token, made = jnp.zeros((2, 1), jnp.int32), [jnp.zeros((2, 1), jnp.int32)]
  for place in range(8):
    (token, _), states = run(states, weights, token, np.int32(place))
    made.append(token)
  again, _ = decoder.stateless(point)(weights, jnp.concatenate(made[:-1], 1))
  np.testing.assert_array_equal(again, made[-1])
  assert len({int(x[0, 0]) for x in made}) > 2  # it says more than one thing


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(form, marks=pytest.mark.slow if form == "whole" else ())
        for form in generation.FORMS
    ],
)
def test_each_way_is_recorded(form):
  point = {**_POINT, "form": form, "length": 5, "layers": 1}
  record = generation.Target().measure(point, 0, _SETTINGS)
  assert (record["status"], record["reason"]) == ("ok", "")
  assert json.loads(json.dumps(record, allow_nan=False)) == record
  assert len(record["seconds"]) == 1 and record["seconds"][0] > 0
  planned = generation.Target().plan(point, _SETTINGS)
  assert planned["key"] == record["key"]
  if form != "state":
    assert list(record["prefixes"]) == list(map(str, range(1, 6)))
  else:
    assert "prefixes" not in record


def test_values_may_be_wider_than_queries():
  point = {**_POINT, "value_width": 12}
  record = generation.Target().measure(point, 0, _SETTINGS)
  assert (record["status"], record["reason"]) == ("ok", "")
  layer, *_ = decoder.model(point).layers
  assert layer.inputs.shape == (16, 56) and layer.output.shape == (24, 16)


def test_a_state_that_is_dropped_fails_the_gate(monkeypatch):
  seen = decoder.with_state

  def forgetful(point):
    run, fresh = seen(point), decoder.states

    def call(states, *rest):
      del states
      return run(fresh(point), *rest)

    call.lower = run.lower
    return call

  monkeypatch.setattr(decoder, "with_state", forgetful)
  record = generation.Target().measure(_POINT, 0, _SETTINGS)
  assert record["status"] == "wrong" and "scores" in record["reason"]


@pytest.mark.parametrize("length", (1, 13, 24, 25, 784, 3072))
def test_few_prefixes_stand_for_all(length):
  prefixes, weights = generation.nodes(length)
  few = length > 2 * generation.NODES
  assert len(set(prefixes)) == (generation.NODES if few else length)
  assert 1 <= min(prefixes) and max(prefixes) <= length
  every = np.arange(1, length + 1.0)
  for power in (0, 1, 2, 3):
    found = np.dot(weights, np.float64(prefixes) ** power)
    np.testing.assert_allclose(found, np.sum(every**power), rtol=0.01)


@pytest.mark.parametrize(
    "form, length, ran", [("whole", 6, 6), ("stateless", 26, generation.NODES)]
)
def test_the_seconds_of_a_sequence_are_the_sum_over_its_prefixes(
    monkeypatch, form, length, ran
):
  lengths = []
  seen = decoder.stateless

  def noting(point):
    run = seen(point)

    def call(weights, tokens):
      lengths.append(tokens.shape[1])
      return run(weights, tokens)

    return call

  monkeypatch.setattr(decoder, "stateless", noting)
  monkeypatch.setattr(
      timing,
      "measure",
      lambda call, budget: timing.Timing([float(lengths[-1])] * 3, 3),
  )
  point = {**_POINT, "form": form, "length": length, "layers": 1}
  found = generation._prefixes(point, decoder.model(point), 1.0)
  total = length * (length + 1) / 2
  assert found["seconds"] == [pytest.approx(total, rel=0.02)]
  assert len(set(lengths)) == ran


def test_a_plan_counts_the_prefixes_and_compiling_each():
  plan = lambda **fields: generation.Target().plan(
      {**_POINT, **fields}, _SETTINGS
  )["seconds"]
  few = {"length": 5}
  assert plan(**few, form="whole") == plan(**few, form="stateless") > 2.5
  long = {"length": 784, "layers": 8}
  assert plan(**long, form="whole") == pytest.approx(590, rel=0.05)
  longer = {"length": 3072, "layers": 16}
  assert plan(**longer, form="stateless") == pytest.approx(30, rel=0.1)
