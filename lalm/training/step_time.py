"""A whole training step of a small model, by this library and by hand.

Mechanisms are mixers as `mixers` names them; forms are how the model is
written: `lalm`; `plain`, by hand in JAX; `torch`, with PyTorch's fused
attention, where it imports. A call is loss, gradient, clipping and AdamW. What
is timed is first compared, on a short batch, with a model in float64.
"""

from collections.abc import Callable
import dataclasses
import functools
from importlib import metadata
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import catalogue
from lalm.data.batches import Batch
from lalm.measure import environment
from lalm.measure import error
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import libraries
from lalm.measure import memory
from lalm.measure import samples
from lalm.measure import timing
from lalm.measure import tolerances
from lalm.models import transformer
from lalm.models.sizes import Sizes
from lalm.training import mixers
from lalm.training import optimizer
from lalm.training import plain
from lalm.training import pytorch
from lalm.training import runs
from lalm.training import step

OURS, HAND, TORCH = "lalm", "plain", "torch"
# A step costs the same whatever these are.
_RATE, _DECAY, _CLIP = 1e-3, 0.1, 1.0
_GATE = 72  # tokens on which forms are compared: more than one chunk of some

names = mixers.names


def get(name: str) -> catalogue.Mechanism:
  """Returns a mixer whose forms are the ways its model is written, at hand.

  Raises:
    ValueError: no such mechanism, or one that cannot be causal.
  """
  found = mixers.get(name)
  forms = [OURS]
  forms += [HAND] if name in plain.MIXERS else []
  forms += [TORCH] if name in pytorch.MIXERS and _torch_version() else []
  return dataclasses.replace(
      found,
      forms=dict.fromkeys(forms, found.definition),
      featured=tuple(forms),
      laws={},
  )


def _torch_version() -> dict[str, str]:
  """Its version where PyTorch is; a processor's is of no use beside a GPU."""
  if libraries.on_gpu():
    return {}
  try:
    return {TORCH: metadata.version(TORCH)}
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

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """Key, operations, predicted bytes and seconds of one call."""
    runs.check(point)
    if point["form"] != TORCH:
      return super().plan(point, settings)
    # Not JAX's to count: as many as written by hand, at most as much memory.
    by_hand = super().plan({**point, "form": HAND}, settings)
    return {**by_hand, "key": self._torch_key(point)}

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point in this process."""
    if point["form"] == TORCH:
      record = self._measure_torch(point, replicate, settings)
    else:
      record = super().measure(point, replicate, settings)
    # Of all records of a sweep, whose forms are compared.
    return {**record, "versions": record["versions"] | _torch_version()}

  def _measure_torch(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    import torch

    torch.set_num_threads(environment.cores())
    record = kernel.identity(point, replicate, self._torch_key(point))
    record |= kernel.outcome(_verdict(point))
    if record["status"] != "ok":
      return record
    memory.settle()
    own = pytorch.Model(
        _parameters(point), point["heads"], point["layers"], point["length"]
    )
    run = pytorch.make(own, _batch(point), _RATE, _DECAY, _CLIP)
    run()
    timed = timing.measure(run, budget=settings.get("point_budget", 2.0))
    return record | {"seconds": timed.seconds, "calls": timed.calls}

  def _torch_key(self, point: kernel.Point) -> str:
    code = keys.code(pytorch, Target._measure_torch)
    return keys.of(point, str(_torch_version()), code)

  def _program(self, point: kernel.Point, mechanism: Any) -> Any:
    del mechanism
    sizes = model(point)
    if point["form"] == HAND:
      shape = (point["mechanism"], point["heads"], point["layers"])
      function: Any = plain.make(*shape, _RATE, _DECAY, _CLIP)
      start: Any = plain.start
    else:
      made = optimizer.Optimizer(
          rate=_RATE, schedule="constant", decay=_DECAY, clip=_CLIP
      ).make()
      function = step.make(step.cross_entropy(sizes), made)
      start = functools.partial(step.start, optimizer=made)
    state = jax.eval_shape(lambda: start(_parameters(point)))
    batch = jax.eval_shape(lambda: _batch(point))
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
    state = program.start(_parameters(point))
    arguments = jax.block_until_ready((state, jax.device_put(_batch(point))))
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
    jax.block_until_ready(ready.run())  # what is done once is not timed
    return _verdict(point)


def model(point: kernel.Point) -> Sizes:
  """Returns the model of a point, as `experiments.train_lm` trains it."""
  return Sizes(
      vocabulary=point["vocabulary"],
      capacity=point["length"],
      mixers=mixers.layers(point["mechanism"], point["layers"]),
      width=point["heads"] * point["width"],
      heads=point["heads"],
      dtype=point["dtype"],
  )


def _parameters(point: kernel.Point) -> Any:
  return transformer.init(jax.random.key(point["seed"]), model(point))


def _batch(point: kernel.Point) -> Batch:
  """Random tokens: a step takes as long whatever they are."""
  drawn = np.random.default_rng([point["seed"], point["length"]])
  shape = (point["batch"], point["length"] + 1)
  whole = drawn.integers(point["vocabulary"], size=shape, dtype=np.int32)
  weights = np.ones((shape[0], shape[1] - 1), np.float32)
  return Batch(whole[:, :-1], whole[:, 1:], weights)


def _verdict(point: kernel.Point) -> error.Verdict:
  """Gradients of a short batch beside those of a model in float64."""
  short = {**point, "length": min(_GATE, point["length"]), "batch": 1}
  parameters, batch = _parameters(short), _batch(short)
  found = _gradients(short, parameters, batch)
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), parameters)
    expected = _expected({**short, "dtype": "float64"}, wide, batch)
  relative = max(map(samples.relative_rms, found, expected))
  # Each layer rounds anew, and so does what is behind it.
  tolerance = (
      2
      * point["layers"]
      * tolerances.gradient(
          point["dtype"], short["length"], jax.default_backend()
      )
  )
  return error.verdict("gradients", relative, tolerance)


def _gradients(
    point: kernel.Point, parameters: Any, batch: Batch
) -> list[np.ndarray]:
  """The loss and its gradients, by the form of the point."""
  shape = point["heads"], point["layers"]
  if point["form"] == TORCH:
    own = pytorch.Model(parameters, *shape, point["length"])
    value, each = pytorch.gradients(own, batch)
    return [np.array(value), *(x.astype(np.float64) for x in each)]
  if point["form"] == HAND:
    loss = lambda p, b: plain.loss(p, b, point["mechanism"], *shape)
    return _wide(jax.jit(jax.value_and_grad(loss))(parameters, batch))
  return _of_library(model(point), parameters, batch)


def _expected(
    point: kernel.Point, parameters: Any, batch: Batch
) -> list[np.ndarray]:
  """What they should be: by hand where that is written, else by other forms."""
  if point["mechanism"] in plain.MIXERS:
    form = {**point, "form": OURS if point["form"] == HAND else HAND}
    return _gradients(form, parameters, batch)
  own = model(point)
  other = tuple(f"{name}.{_other(name)}" for name in own.mixers)
  return _of_library(dataclasses.replace(own, mixers=other), parameters, batch)


def _other(name: str) -> str:
  """The form that computes otherwise than the one that trains."""
  forms = catalogue.get(name).forms
  return "recurrent" if "recurrent" in forms else next(iter(forms))


def _of_library(
    sizes: Sizes, parameters: Any, batch: Batch
) -> list[np.ndarray]:
  total = step.cross_entropy(sizes)
  loss = lambda p, b: total(p, b) / jnp.sum(b.weights)
  return _wide(jax.jit(jax.value_and_grad(loss))(parameters, batch))


def _wide(found: Any) -> list[np.ndarray]:
  """Leaves of a loss and its gradient in float64."""
  return [np.asarray(x, np.float64) for x in jax.tree.leaves(found)]


TARGET = Target()
PEAK = kernel.Peak(TARGET)
