"""A whole training step of a small model, by this library and by hand.

Mechanisms are mixers as `mixers` names them; forms are how the model is
written: `lalm`; `plain`, by hand in JAX; `torch`, with PyTorch's fused
attention, where it is installed. A call is loss, gradient, clipping and AdamW;
that of `lalm` also counts what is not finite, and the norm of the gradient.

What is timed is compared before with the model written otherwise (`written`).
"""

from collections.abc import Callable
import dataclasses
import functools
from importlib import metadata
from typing import Any, NamedTuple

import jax

from lalm.attention import catalogue
from lalm.attention import tuning
from lalm.measure import environment
from lalm.measure import error
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import memory
from lalm.measure import peak_memory
from lalm.measure import timing
from lalm.training import mixers
from lalm.training import optimizer
from lalm.training import plain
from lalm.training import pytorch
from lalm.training import runs
from lalm.training import step
from lalm.training import written

# A step costs the same whatever these are.
_RATE, _DECAY, _CLIP = 1e-3, 0.1, 1.0

names = mixers.names


def get(name: str) -> catalogue.Mechanism:
  """Returns a mixer whose forms are the ways its model is written, at hand.

  Raises:
    ValueError: no such mechanism, or one that cannot be causal.
  """
  found = mixers.get(name)
  forms = [written.OURS]
  forms += [written.HAND] if name in plain.MIXERS else []
  forms += (
      [written.TORCH] if name in pytorch.MIXERS and _torch_version() else []
  )
  return dataclasses.replace(
      found,
      forms=dict.fromkeys(forms, found.definition),
      featured=tuple(forms),
      laws={},
  )


def _torch_version() -> dict[str, str]:
  """Its version where PyTorch is; a processor's is of no use beside others."""
  if tuning.assumed() != "cpu":
    return {}
  try:
    return {written.TORCH: metadata.version(written.TORCH)}
  except metadata.PackageNotFoundError:
    return {}


class Program(NamedTuple):
  """A step before it is compiled: of a state, which it takes over, and a batch.

  Attributes:
    function: under `jax.jit`.
    arguments: shapes of the state and of the batch.
    start: from parameters to the state.
    backward: True, for predictions of memory.
  """

  function: Any
  arguments: tuple[Any, ...]
  start: Callable[[Any], Any]
  backward: bool = True


class Target(kernel.Target):
  """Plans and measures steps."""

  def __init__(self) -> None:
    super().__init__(get)

  def surroundings(self) -> dict[str, Any]:
    """Where it measures, PyTorch's version among those of all records."""
    found = super().surroundings()
    return {**found, "versions": found["versions"] | _torch_version()}

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """Key, operations, predicted bytes and seconds of one call."""
    _check(point)
    ours = super().plan({**point, "form": written.OURS}, settings)
    parts, planned = [ours["key"], str(_torch_version())], ours
    # Other forms are measured again with ours, for a ratio is of one run.
    if point["form"] != written.OURS:
      by_hand = super().plan({**point, "form": written.HAND}, settings)
      # Each of its layers keeps a matrix, as PyTorch's do not.
      if point["form"] == written.HAND:
        several = max(1, point["layers"] // 2)
        planned = {**by_hand, "bytes": several * by_hand["bytes"]}
      parts.append(by_hand["key"])
    if point["form"] == written.TORCH:
      parts.append(keys.code(pytorch, Target._measure_torch))
    return {**planned, "key": keys.of(point, *parts)}

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point in this process."""
    if point["form"] == written.TORCH:
      record = self._measure_torch(point, replicate, settings)
    else:
      record = super().measure(point, replicate, settings)
    return {**record, "versions": record["versions"] | _torch_version()}

  def _measure_torch(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    import torch

    torch.set_num_threads(environment.cores())
    kernel.use_cache(settings.get("cache"))
    record = kernel.identity(point, replicate, "")  # the sweep's own is kept
    own = pytorch.Model(
        written.parameters(point),
        point["heads"],
        point["layers"],
        point["length"],
    )
    run = pytorch.make(own, written.batch(point), _RATE, _DECAY, _CLIP)
    first = run()
    if settings.get("gate", True):
      record |= kernel.outcome(written.verdict(point, first))
      if record["status"] != "ok":
        return record
    memory.settle()
    timed = timing.measure(run, budget=settings.get("point_budget", 2.0))
    record |= {"seconds": timed.seconds, "calls": timed.calls}
    return {**record, "status": "ok", "reason": ""}

  def _program(self, point: kernel.Point, mechanism: Any) -> Any:
    del mechanism
    if point["form"] == written.HAND:
      shape = (point["mechanism"], point["heads"], point["layers"])
      function: Any = plain.make(*shape, _RATE, _DECAY, _CLIP)
      start: Any = plain.start
    else:
      made = optimizer.Optimizer(
          rate=_RATE, schedule="constant", decay=_DECAY, clip=_CLIP
      ).make()
      function = step.make(step.cross_entropy(written.model(point)), made)
      start = functools.partial(step.start, optimizer=made)
    state = jax.eval_shape(lambda: start(written.parameters(point)))
    batch = jax.eval_shape(lambda: written.batch(point))
    return Program(function, (state, batch), start)

  def _cost(self, point: kernel.Point, mechanism: Any) -> Any:
    del point, mechanism  # no closed form

  def _ready(
      self,
      point: kernel.Point,
      mechanism: Any,
      program: Any,
      compiled: Any,
      record: dict[str, Any],
  ) -> kernel.Compiled:
    state = program.start(written.parameters(point))
    arguments = jax.block_until_ready(
        (state, jax.device_put(written.batch(point)))
    )
    run = self._run(point, compiled, arguments)
    return kernel.Compiled(program, compiled, (), (), record, run)

  def _run(
      self, point: kernel.Point, compiled: Any, arguments: Any
  ) -> Callable[[], Any]:
    """Each call goes on from the state that the last has left."""
    del point
    state, batch = arguments

    def run() -> Any:
      nonlocal state
      state, metrics = compiled(state, batch)
      return metrics

    return run

  def _gate(
      self, point: kernel.Point, mechanism: Any, ready: Any, seed: Any
  ) -> error.Verdict:
    del mechanism, seed
    return written.verdict(point, float(jax.tree.leaves(ready.run())[0]))


def _check(point: kernel.Point) -> None:
  """Raises ValueError where a point is of no model that is written so."""
  runs.check(point)
  if point["form"] != written.OURS and point["dtype"] != "float32":
    raise ValueError(
        f"dtype: expected float32 of the form {point['form']}, got"
        f" {point['dtype']}"
    )


TARGET = Target()
PEAK = peak_memory.Peak(TARGET, lambda form: form == written.TORCH)
