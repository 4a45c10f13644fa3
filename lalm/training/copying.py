"""The copy task (Katharopoulos et al. 2020, arXiv 2006.16236, Figure 2)."""

import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.data import batches
from lalm.models import transformer
from lalm.models.sizes import Sizes
from lalm.training import mixers
from lalm.training import optimizer
from lalm.training import runs
from lalm.training import step

SYMBOLS = 10
_HELD_OUT, _JUDGED = 1_000_003, 4  # seed and batches of what it is judged by


class Task:
  """Sequences 0 w 0 w, of which the second word counts."""

  def sizes(self, point: runs.Point) -> Sizes:
    """The paper's kind of model: sines, layer norms, gelu."""
    return Sizes(
        vocabulary=SYMBOLS + 1,
        capacity=point["length"],
        mixers=mixers.layers(point["mechanism"], point["layers"]),
        width=point["heads"] * point["width"],
        heads=point["heads"],
        positions="sinusoidal",
        norm="layer",
        network="gelu",
        dtype=point["dtype"],
    )

  def optimizer(self, point: runs.Point) -> optimizer.Optimizer:
    """RAdam whose rate falls to a tenth."""
    return optimizer.Optimizer(
        name="radam",
        rate=point["rate"],
        schedule="drop",
        steps=point["steps"],
        drop=point["drop"],
        second=0.999,
    )

  def digest(self, point: runs.Point) -> str:
    """Nothing: words are drawn."""
    batches.copies(1, point["length"], SYMBOLS, seed=0, step=0)  # if they can
    return ""

  def data(
      self, point: runs.Point, seed: int, folder: pathlib.Path
  ) -> runs.Data:
    """Words drawn anew at each step, and some that are always the same."""
    del folder  # nothing is made once
    size, length = point["batch"], point["length"]

    def draw(seed: int, number: int) -> batches.Batch:
      return batches.copies(size, length, SYMBOLS, seed=seed, step=number)

    held_out = [draw(_HELD_OUT, number) for number in range(_JUDGED)]
    return runs.Data(
        lambda number: draw(seed, number), _judge(self.sizes(point), held_out)
    )

  def ended(
      self, run: runs.Run, parameters: Any, kept: pathlib.Path
  ) -> dict[str, Any]:
    """Nothing more."""
    del run, parameters, kept
    return {}


def _judge(sizes: Sizes, held_out: list[batches.Batch]) -> Any:
  """From parameters to nats a symbol and the share that are right."""
  loss = step.cross_entropy(sizes)

  @jax.jit
  def one(parameters: Any, batch: batches.Batch) -> Any:
    logits = transformer.forward(parameters, sizes, batch.tokens).logits
    right = (jnp.argmax(logits, axis=-1) == batch.targets) * batch.weights
    return loss(parameters, batch), jnp.sum(right), jnp.sum(batch.weights)

  def judge(parameters: Any) -> dict[str, float]:
    sums = np.sum([jax.device_get(one(parameters, b)) for b in held_out], 0)
    total, right, count = map(float, sums)
    return {"loss": total / count, "accuracy": right / count}

  return judge


TARGET = runs.Target(Task(), sys.modules[__name__], batches)
