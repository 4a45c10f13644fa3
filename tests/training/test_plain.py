"""The model written by hand, in JAX and in PyTorch, is the library's model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.data import batches
from lalm.models import sizes as sizes_lib
from lalm.models import transformer
from lalm.training import optimizer
from lalm.training import plain
from lalm.training import step
from lalm.training import step_time

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
    "length": 40, "batch": 1, "heads": 2, "width": 8, "value_width": 8,
    "layers": 1, "vocabulary": 17, "dtype": "float32", "seed": 0,
}  # fmt: skip


def _verdict(mixer, form):
  return step_time._verdict({**_POINT, "mechanism": mixer, "form": form})


@pytest.mark.parametrize(
    "mixer, form",
    (
        ("softmax", "plain"),
        ("gated_deltanet", "lalm"),
        pytest.param("linear", "lalm", marks=pytest.mark.slow),
        pytest.param("gla", "lalm", marks=pytest.mark.slow),
    ),
)
def test_what_is_timed_is_right(mixer, form):
  assert _verdict(mixer, form).status == "ok"


def test_pytorch_is_right_too():
  pytest.importorskip("torch")
  assert _verdict("softmax", "torch").status == "ok"


def test_what_is_wrong_is_not_timed(monkeypatch):
  def sees_all(q, k, v):
    scores = jnp.einsum("bthk,bshk->bhts", q, k) / q.shape[-1] ** 0.5
    return jnp.einsum("bhts,bshv->bthv", jax.nn.softmax(scores), v)

  monkeypatch.setattr(plain, "_softmax", sees_all)
  found = _verdict("softmax", "plain")
  assert found.status == "wrong" and "gradients" in found.reason
