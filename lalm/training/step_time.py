"""A whole training step of a small model, by this library and by hand.

Mechanisms are mixers as `mixers` names them; forms are how the model is
written: `lalm`; `plain`, by hand in JAX; `torch`, with PyTorch's fused
attention, where it is installed. A call is loss, gradient, clipping and AdamW;
that of `lalm` also counts what is not finite, and the norm of the gradient.

What is timed is compared before with the model written otherwise: the loss of
the first call, at the full length, and on a short batch the gradients, in
float64. These may be a few times as far off as those of the model written
otherwise in the same dtype: where a norm divides by what is nearly 0, as after
a first token of the delta rule, no model is near.
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
from lalm.attention import tuning
from lalm.data.batches import Batch
from lalm.measure import environment
from lalm.measure import error
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import memory
from lalm.measure import samples
from lalm.measure import timing
from lalm.measure import tolerances
from lalm.models import transformer
from lalm.models.sizes import Sizes
from lalm.training import language
from lalm.training import mixers
from lalm.training import optimizer
from lalm.training import plain
from lalm.training import pytorch
from lalm.training import runs
from lalm.training import step

OURS, HAND, TORCH = "lalm", "plain", "torch"
# A step costs the same whatever these are.
_RATE, _DECAY, _CLIP = 1e-3, 0.1, 1.0
_GATE = 300  # tokens whose gradients are compared: several chunks of most forms
_AS_GOOD = 10  # times the error of the model written otherwise

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
  """Its version where PyTorch is; a processor's is of no use beside others."""
  if tuning.assumed() != "cpu":
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

  def surroundings(self) -> dict[str, Any]:
    """Where it measures, PyTorch's version among those of all records."""
    found = super().surroundings()
    return {**found, "versions": found["versions"] | _torch_version()}

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """Key, operations, predicted bytes and seconds of one call."""
    _check(point)
    ours = super().plan({**point, "form": OURS}, settings)
    parts, planned = [ours["key"], str(_torch_version())], ours
    if point["form"] != OURS:  # measured again with ours: a ratio is of one run
      by_hand = super().plan({**point, "form": HAND}, settings)
      # PyTorch's attention holds no matrix either.
      if point["form"] == HAND:  # each of whose layers keeps a matrix
        several = max(1, point["layers"] // 2)
        planned = {**by_hand, "bytes": several * by_hand["bytes"]}
      parts.append(by_hand["key"])
    if point["form"] == TORCH:
      parts.append(keys.code(pytorch, Target._measure_torch))
    return {**planned, "key": keys.of(point, *parts)}

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point in this process."""
    if point["form"] == TORCH:
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
        _parameters(point), point["heads"], point["layers"], point["length"]
    )
    run = pytorch.make(own, _batch(point), _RATE, _DECAY, _CLIP)
    first = run()
    if settings.get("gate", True):
      record |= kernel.outcome(_verdict(point, first))
      if record["status"] != "ok":
        return record
    memory.settle()
    timed = timing.measure(run, budget=settings.get("point_budget", 2.0))
    record |= {"seconds": timed.seconds, "calls": timed.calls}
    return {**record, "status": "ok", "reason": ""}

  def _program(self, point: kernel.Point, mechanism: Any) -> Any:
    del mechanism
    if point["form"] == HAND:
      shape = (point["mechanism"], point["heads"], point["layers"])
      function: Any = plain.make(*shape, _RATE, _DECAY, _CLIP)
      start: Any = plain.start
    else:
      made = optimizer.Optimizer(
          rate=_RATE, schedule="constant", decay=_DECAY, clip=_CLIP
      ).make()
      function = step.make(step.cross_entropy(model(point)), made)
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
    return _verdict(point, float(jax.tree.leaves(ready.run())[0]))


def model(point: kernel.Point) -> Sizes:
  """Returns the model of a point: as large as that of softmax attention."""
  return language.matched(
      Sizes(
          vocabulary=point["vocabulary"],
          capacity=point["length"],
          mixers=mixers.layers(point["mechanism"], point["layers"]),
          width=point["heads"] * point["width"],
          heads=point["heads"],
          dtype=point["dtype"],
      )
  )


def _check(point: kernel.Point) -> None:
  """Raises ValueError where a point is of no model that is written so."""
  runs.check(point)
  if point["form"] != OURS and point["dtype"] != "float32":
    raise ValueError(
        f"dtype: expected float32 of the form {point['form']}, got"
        f" {point['dtype']}"
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


def _verdict(point: kernel.Point, first: float) -> error.Verdict:
  """Whether a form's loss and gradients are those of one written otherwise.

  Args:
    point: of the form.
    first: loss of its first call.
  """
  wanted = float(jax.jit(_otherwise(point))(_parameters(point), _batch(point)))
  # Each layer rounds anew, and so does what is behind it.
  rounds, device = 2 * point["layers"], jax.default_backend()
  allowed = functools.partial(
      tolerances.gradient, point["dtype"], ours=point["form"] == OURS
  )
  loss = error.verdict(
      "loss",
      abs(first - wanted) / abs(wanted),
      rounds * allowed(point["length"], device),
  )
  if loss.status != "ok":
    return loss
  short = {**point, "length": min(_GATE, point["length"]), "batch": 1}
  relative, others = _errors(tuple(sorted(short.items())))
  tolerance = max(rounds * allowed(_GATE, device), _AS_GOOD * others)
  return error.verdict("gradients", relative, tolerance)


@functools.cache  # nearly all lengths of a sweep share it
def _errors(items: tuple[tuple[str, Any], ...]) -> tuple[float, float]:
  """Errors of a point's gradients, and of those of the model written otherwise.

  An error is the greatest relative RMS of a parameter's gradient to that of the
  model written otherwise in float64.
  """
  point = dict(items)
  parameters, batch = _parameters(point), _batch(point)
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), parameters)
    loss = _otherwise({**point, "dtype": "float64"})
    expected = _gradients(loss, wide, batch)
  found = _own_gradients(point, parameters, batch)
  others = _gradients(_otherwise(point), parameters, batch)
  return _farthest(found, expected), _farthest(others, expected)


def _farthest(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
  pairs = zip(found, expected, strict=True)
  # NaN is the greatest of all to NumPy, not to Python.
  return float(np.max([samples.relative_rms(x, y) for x, y in pairs]))


def _own_gradients(
    point: kernel.Point, parameters: Any, batch: Batch
) -> list[np.ndarray]:
  """Gradients by the form of a point."""
  if point["form"] == TORCH:
    shape = point["heads"], point["layers"], point["length"]
    found = pytorch.gradients(pytorch.Model(parameters, *shape), batch)
    return [x.astype(np.float64) for x in found]
  loss = _by_hand(point) if point["form"] == HAND else _mean(model(point))
  return _gradients(loss, parameters, batch)


def _gradients(
    loss: Callable[[Any, Batch], jax.Array], parameters: Any, batch: Batch
) -> list[np.ndarray]:
  """Gradients of a loss, leaf by leaf."""
  found = jax.tree.leaves(jax.jit(jax.grad(loss))(parameters, batch))
  return [np.asarray(x, np.float64) for x in found]


def _otherwise(point: kernel.Point) -> Callable[[Any, Batch], jax.Array]:
  """A point's loss by hand where that is written, else by other forms."""
  if point["mechanism"] in plain.MIXERS and point["form"] != HAND:
    return _by_hand(point)
  own = model(point)
  if point["form"] == HAND:
    return _mean(own)
  other = tuple(f"{name}.{_other(name)}" for name in own.mixers)
  return _mean(dataclasses.replace(own, mixers=other))


def _other(name: str) -> str:
  """The form that computes otherwise than the one that trains."""
  forms = catalogue.get(name).forms
  return "recurrent" if "recurrent" in forms else next(iter(forms))


def _by_hand(point: kernel.Point) -> Callable[[Any, Batch], jax.Array]:
  mixer, heads, layers = (point[n] for n in ("mechanism", "heads", "layers"))
  return lambda p, batch: plain.loss(p, batch, mixer, heads, layers)


def _mean(sizes: Sizes) -> Callable[[Any, Batch], jax.Array]:
  total = step.cross_entropy(sizes)
  return lambda p, batch: total(p, batch) / batch.weights.sum()


class Peak(kernel.Peak):
  """As of attention; of PyTorch's memory JAX's allocator knows nothing."""

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """Bytes and method of a point's peak; no method where none can tell."""
    if point["form"] == TORCH:
      return {"bytes": None, "method": None}
    return super().measure(point, replicate, settings)


TARGET = Target()
PEAK = Peak(TARGET)
