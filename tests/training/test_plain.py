"""The model written by hand, in JAX and in PyTorch, is the library's model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.data import batches
from lalm.models import sizes as sizes_lib
from lalm.models import transformer
from lalm.training import optimizer
from lalm.training import plain
from lalm.training import pytorch
from lalm.training import step
from lalm.training import step_time
from lalm.training import written

_HEADS, _LAYERS = 2, 2


def _model(mixer, length):
  return sizes_lib.Sizes(
      17, length, (mixer,) * _LAYERS, width=16, heads=_HEADS, dtype="float64"
  )


def _parameters(model):
  drawn = transformer.init(jax.random.key(0), model)
  return jax.tree.map(lambda x: x.astype(jnp.float64), drawn)


def _batch(length, seed=0):
  drawn = np.random.default_rng(seed).integers(17, size=(2, length + 1))
  tokens = drawn.astype(np.int32)
  weights = np.ones((2, length), np.float32)
  return batches.Batch(tokens[:, :-1], tokens[:, 1:], weights)


@pytest.mark.parametrize("mixer", plain.MIXERS)
@pytest.mark.parametrize(
    "length", (pytest.param(1, marks=pytest.mark.slow), 131)
)  # more than a chunk, and odd
def test_logits_are_the_models(mixer, length):
  with jax.enable_x64(True):
    model, batch = _model(mixer, length), _batch(length)
    parameters = _parameters(model)
    expected = transformer.forward(parameters, model, batch.tokens).logits
    found = plain.forward(parameters, batch.tokens, mixer, _HEADS, _LAYERS)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_steps_are_those_of_the_library():
  made = optimizer.Optimizer(
      rate=1e-2, schedule="constant", decay=0.1, clip=0.5
  ).make()
  with jax.enable_x64(True):
    model = _model("linear", 9)
    ours = step.start(_parameters(model), made)
    run = step.make(step.cross_entropy(model), made)
    theirs = plain.start(_parameters(model))
    by_hand = plain.make("linear", _HEADS, _LAYERS, 1e-2, 0.1, 0.5)
    for number in range(3):
      ours, metrics = run(ours, _batch(9, number))
      theirs, loss = by_hand(theirs, _batch(9, number))
      np.testing.assert_allclose(loss, metrics.loss, rtol=1e-6)
    for x, y in zip(*map(jax.tree.leaves, (ours[1], theirs[1])), strict=True):
      # Adam divides by the root of squares: what is near 0 is rounded more.
      np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


_POINT = {
    "length": 140, "batch": 1, "heads": 2, "width": 8, "value_width": 8,
    "layers": 1, "vocabulary": 17, "dtype": "float32", "seed": 0,
    "causal": True, "chunk": 0, "corpus": "", "pass": "forward_backward",
}  # fmt: skip


def _start(point):
  return written.parameters(point), written.batch(point)


def _point(mixer, form):
  return {**_POINT, "mechanism": mixer, "form": form}


def _errors(point):
  return written._errors.__wrapped__(tuple(point.items()))


@pytest.mark.parametrize(
    "mixer, form",
    (
        ("linear", "plain"),
        pytest.param("gated_deltanet", "lalm", marks=pytest.mark.slow),
        pytest.param("softmax", "lalm", marks=pytest.mark.slow),
        pytest.param("gla", "lalm", marks=pytest.mark.slow),
        pytest.param("hybrid", "lalm", marks=pytest.mark.slow),
    ),
)
def test_gradients_are_those_of_the_model_written_otherwise(mixer, form):
  layers = 4 if mixer == "hybrid" else 1
  found, others = _errors({**_point(mixer, form), "layers": layers})
  assert found < 1e-5 and 0 < others < 1e-5


@pytest.mark.slow
def test_sums_of_the_chunks_before_are_looked_at(monkeypatch):
  whole = jnp.cumsum
  monkeypatch.setattr(jnp, "cumsum", lambda x, axis: whole(x, axis=axis) + x)
  assert _errors(_point("linear", "plain"))[0] > 1e-3


def test_pytorch_takes_the_same_steps():
  pytest.importorskip("torch")
  model = dataclasses.replace(_model("softmax", 9), dtype="float32")
  parameters, batch = transformer.init(jax.random.key(0), model), _batch(9)
  found = pytorch.Model(parameters, _HEADS, _LAYERS, 9)
  run = pytorch.make(found, batch, 1e-2, 0.1, 0.5)
  by_hand = plain.make("softmax", _HEADS, _LAYERS, 1e-2, 0.1, 0.5)
  state = plain.start(parameters)
  for _ in range(3):
    state, loss = by_hand(state, batch)
    assert run() == pytest.approx(float(loss), rel=1e-5)
  for x, y in zip(found.leaves, jax.tree.leaves(state.parameters)):
    np.testing.assert_allclose(x.detach(), y, rtol=1e-3, atol=1e-4)


def test_no_process_is_asked_for_a_peak_of_torch(monkeypatch):
  asked = lambda *_: pytest.fail("asked")
  monkeypatch.setattr(step_time.Target, "peak", asked)
  found = step_time.PEAK.measure(_point("softmax", written.TORCH), 0, {})
  assert found == {"bytes": None, "method": None}


def test_what_is_wrong_is_not_timed(monkeypatch):
  point = _point("softmax", "plain")
  for first in (1.0, float("nan")):
    found = written.verdict(point, first)
    assert found.status == "wrong" and found.kind == "loss"

  right = written._own_gradients

  def not_finite(*given):
    first, second, *others = right(*given)
    return [first, np.full_like(second, np.nan), *others]

  monkeypatch.setattr(written, "_own_gradients", not_finite)
  monkeypatch.setattr(written, "_errors", written._errors.__wrapped__)
  loss = float(written._otherwise(point)(*_start(point)))
  found = written.verdict(point, loss)
  assert found.status == "wrong" and found.kind == "gradients"
