"""A step: parts of a batch, gradients that are not finite, schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lalm.data.batches import Batch
from lalm.models import transformer
from lalm.training import optimizer
from lalm.training import step
from tests.training import conftest as small


def _fresh():
  return jax.tree.map(lambda x: x.copy(), small.parameters())


def _equal(a, b, bound=0.0):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, atol=bound, rtol=0)


def test_the_loss_is_the_mean_over_what_counts():
  batch = small.batch(0)
  plain = optax.sgd(0.0)
  plain = optax.apply_if_finite(plain, 1)
  _, metrics = step.make(small.LOSS, plain)(step.start(_fresh(), plain), batch)
  logits = transformer.forward(small.parameters(), small.SIZES, batch.tokens)
  log_p = jax.nn.log_softmax(logits.logits, axis=-1)
  each = np.take_along_axis(
      np.asarray(log_p), np.asarray(batch.targets)[..., None], axis=-1
  )[..., 0]
  counted = batch.weights > 0
  assert 0 < counted.sum() < counted.size
  assert float(metrics.loss) == pytest.approx(-each[counted].mean(), rel=1e-5)


@pytest.mark.parametrize("parts", (2, pytest.param(8, marks=pytest.mark.slow)))
def test_parts_of_a_batch_are_the_batch(parts):
  # Plain descent: Adam divides by the gradient's size, rounding included.
  plain = optax.apply_if_finite(optax.sgd(0.5), 1)
  found = [
      step.make(small.LOSS, plain, count)(
          step.start(_fresh(), plain), small.batch(0)
      )
      for count in (1, parts)
  ]
  (whole, a), (split, b) = found
  _equal(whole.parameters, split.parameters, 2e-6)
  assert float(a.loss) == pytest.approx(float(b.loss), rel=1e-5)
  assert float(a.gradient_norm) == pytest.approx(
      float(b.gradient_norm), rel=1e-4
  )


def test_parts_must_divide_the_batch():
  plain = optax.apply_if_finite(optax.sgd(0.5), 1)
  with pytest.raises(ValueError, match="divisor of the batch, 8, got 3"):
    step.make(small.LOSS, plain, 3)(step.start(_fresh(), plain), small.batch(0))


def test_a_gradient_that_is_not_finite_is_skipped_and_counted():
  made = optimizer.Optimizer(rate=1e-2, steps=10).make()
  run = step.make(small.LOSS, made)
  good, bad = small.batch(0), small.batch(1)
  bad = bad._replace(weights=np.full_like(bad.weights, np.nan))
  after, _ = run(step.start(_fresh(), made), good)
  kept = jax.tree.map(lambda x: np.array(x), after.parameters)
  after, metrics = run(after, bad)
  _equal(after.parameters, kept)
  assert int(metrics.skipped) == 1 and int(after.step) == 2
  after, metrics = run(after, good)
  assert int(metrics.skipped) == 1
  assert any(
      (np.asarray(a) != b).any()
      for a, b in zip(jax.tree.leaves(after.parameters), jax.tree.leaves(kept))
  )


def test_a_batch_that_counts_nothing_changes_nothing():
  plain = optax.apply_if_finite(optax.sgd(0.5), 1)
  batch = small.batch(0)
  batch = batch._replace(weights=np.zeros_like(batch.weights))
  after, metrics = step.make(small.LOSS, plain)(
      step.start(_fresh(), plain), batch
  )
  _equal(after.parameters, small.parameters())
  assert float(metrics.loss) == 0.0


def _rates(**fields):
  made = optimizer.Optimizer(steps=100, rate=1.0, **fields).rates()
  return [float(made(i)) for i in range(101)]


def test_a_cosine_rises_and_falls_to_a_tenth():
  found = _rates(schedule="cosine", warmup=10)
  assert found[0] == 0 and found[5] == pytest.approx(0.5)
  assert found[10] == 1 == max(found)
  assert found[55] == pytest.approx(0.55) and found[100] == pytest.approx(0.1)


def test_a_drop_is_at_its_step():
  found = _rates(schedule="drop", drop=60, warmup=4)
  assert found[4] == found[59] == 1
  assert found[60] == pytest.approx(0.1) == found[100]


def test_a_constant_rate_is_constant():
  assert set(_rates(schedule="constant")) == {1.0}


def _one_step(gradient, **fields):
  made = optimizer.Optimizer(schedule="constant", steps=10, **fields).make()
  parameters = {"matrix": jnp.ones((2, 2)), "vector": jnp.ones(2)}
  gradients = jax.tree.map(lambda x: jnp.full_like(x, gradient), parameters)
  updates, _ = made.update(gradients, made.init(parameters), parameters)
  return updates


def test_only_matrices_decay():
  found = _one_step(0.0, rate=0.1, decay=0.5)
  np.testing.assert_allclose(found["matrix"], -0.05)
  np.testing.assert_allclose(found["vector"], 0.0)


def test_gradients_are_clipped_together():
  big = _one_step(1e9, rate=0.1, decay=0.0, clip=1.0)
  assert np.isfinite(big["matrix"]).all()
  made = optimizer.Optimizer(clip=2.0, steps=10, decay=0.0).make()
  state = made.init({"x": jnp.zeros(4)})
  _, state = made.update({"x": jnp.full(4, 3.0)}, state, {"x": jnp.zeros(4)})
  (mean,) = [
      x for x in jax.tree.leaves(state) if x.shape == (4,) and (x > 0.05).all()
  ]
  np.testing.assert_allclose(mean, 0.1 * 2.0 / 2.0, rtol=1e-5)  # norm 6 to 2


@pytest.mark.parametrize("name", optimizer.NAMES)
def test_every_optimiser_goes_downhill(name):
  made = optimizer.Optimizer(name=name, rate=0.05, steps=100).make()
  loss = lambda batch_parameters, batch: jnp.sum(batch_parameters**2)
  run = step.make(loss, made)
  state = step.start(jnp.full(3, 1.0), made)
  ones = np.ones((1, 1), np.float32)
  batch = Batch(ones.astype(np.int32), ones.astype(np.int32), ones)
  for _ in range(100):
    state, metrics = run(state, batch)
  assert float(metrics.loss) < 0.1


@pytest.mark.parametrize(
    "fields, message",
    (
        (dict(name="sgd"), "name: expected one of adamw, radam"),
        (dict(schedule="step"), "schedule: expected one of"),
        (dict(rate=0.0), "rate: expected above 0"),
        (dict(clip=-1.0), "clip: expected 0 or more"),
        (dict(second=1.0), "second: expected 0 or more, below 1"),
        (dict(rate=float("nan")), "rate: expected above 0"),
        (dict(steps=10, warmup=10), "warmup: expected 0 to 9"),
        (dict(schedule="drop"), "drop: expected a step from 1 to 999"),
        (dict(schedule="drop", drop=1000), "drop: expected a step from 1"),
        (
            dict(schedule="drop", drop=5, warmup=10),
            "drop: expected a step from 11",
        ),
        (dict(schedule="cosine", drop=5), "drop: expected 0 for the schedule"),
        (dict(steps=0), "steps: expected 1 or more, got 0"),
    ),
)
def test_what_is_no_optimiser_is_refused(fields, message):
  with pytest.raises(ValueError, match=message):
    optimizer.Optimizer(**fields)
