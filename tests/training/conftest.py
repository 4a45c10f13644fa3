"""A run small enough to be repeated: two layers that learn to copy."""

import functools

import jax
import pytest

from lalm.data import batches
from lalm.models import sizes as sizes_lib
from lalm.models import transformer
from lalm.training import loop
from lalm.training import optimizer
from lalm.training import step

SIZES = sizes_lib.Sizes(5, 16, ("linear",), width=16, heads=2)
STEPS, ROUND, EVERY = 12, 6, 2
LOSS = step.cross_entropy(SIZES)
_HELD_OUT = batches.copies(8, 16, 4, seed=99, step=0)
_JUDGE = jax.jit(LOSS)


def batch(number):
  """The batch of a step."""
  return batches.copies(8, 16, 4, seed=0, step=number)


def judge(parameters):
  """Nats a token of what is held out."""
  total = float(_JUDGE(parameters, _HELD_OUT))
  return {"loss": total / float(_HELD_OUT.weights.sum())}


@functools.cache
def parameters(seed=0):
  """Parameters of the first step."""
  return transformer.init(jax.random.key(seed), SIZES)


def plan(**changes):
  """The run, or one with some fields changed."""
  fields = dict(
      parameters=lambda: jax.tree.map(lambda x: x.copy(), parameters()),
      loss=LOSS,
      optimizer=optimizer.Optimizer(rate=1e-2, steps=STEPS, warmup=2).make(),
      batch=batch,
      judge=judge,
      steps=STEPS,
      round=ROUND,
      every=EVERY,
  )
  return loop.Plan(**(fields | changes))


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
  """The folder and outcome of a run that nothing interrupts."""
  folder = tmp_path_factory.mktemp("undisturbed")
  return folder, loop.run(plan(), folder)
