"""Training runs as points of a sweep: a mixer a point, a seed a replicate.

A run has a folder of its own beside the sweep's records and goes on there
when it is asked for again, after whatever has ended it.
"""

from collections.abc import Callable, Mapping
import functools
import math
import pathlib
import sys
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from lalm import units
from lalm.data.batches import Batch
from lalm.measure import ceilings
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import operations
from lalm.models import transformer
from lalm.models.sizes import Sizes
from lalm.training import loop
from lalm.training import optimizer
from lalm.training import step

Point = Mapping[str, Any]
Settings = Mapping[str, Any]
_BACKWARD = 3  # times the forward products in a step, by custom
_REACHED = 0.35  # of the rate of products, to plan with
_LINES = 100  # of a run's curve
_DTYPES = ("float32", "bfloat16")
_KEY = jax.eval_shape(lambda: jax.random.key(0))


class Data(NamedTuple):
  """What a run learns from, and by what it is judged.

  Attributes:
    batch: from a step to its batch.
    judge: from parameters to metrics, "loss" among them.
  """

  batch: Callable[[int], Batch]
  judge: Callable[[Any], dict[str, float]]


class Run(NamedTuple):
  """A run that has ended: its point, its seed, and a name of its own."""

  point: Point
  seed: int
  name: str


class Task(Protocol):
  """What there is to learn, and by which model."""

  def sizes(self, point: Point) -> Sizes:
    """The model of a point."""

  def optimizer(self, point: Point) -> optimizer.Optimizer:
    """How it learns."""

  def digest(self, point: Point) -> str:
    """Of what it learns from, beside the point; nothing is written.

    Raises ValueError where nothing can be learnt at this point.
    """

  def data(self, point: Point, seed: int, folder: pathlib.Path) -> Data:
    """What from; the folder is for what is made once."""

  def ended(
      self, run: "Run", parameters: Any, kept: pathlib.Path
  ) -> dict[str, Any]:
    """Fields of the record that follow from what was learnt.

    The folder is that of `data`; beside it is what a user may want to open.
    """


class Target:
  """Plans and does the runs of a task.

  Args:
    task: the task.
    code: modules that a run follows from, beside those of training.

  Attributes:
    tell: takes a line for the user, of how far a run is.
  """

  def __init__(self, task: Task, *code: Any) -> None:
    self.tell: Callable[[str], None] = _say
    self._task = task
    self._code = code
    self._rate = functools.cache(ceilings.products)

  def surroundings(self) -> dict[str, Any]:
    """Where it trains; peaks of memory are not read."""
    found = kernel.TARGET.surroundings()
    return {name: x for name, x in found.items() if name != "memory_method"}

  def environment(self) -> dict[str, Any]:
    """What a worker says of itself before its first run."""
    return self.surroundings()

  def plan(self, point: Point, settings: Settings) -> dict[str, Any]:
    """Key, and predicted bytes and seconds of a run."""
    check(point)
    del settings  # what a run is does not depend on where it is kept
    sizes, run = self._task.sizes(point), self._run(point)
    state, batch = self._shapes(point)
    programs = (run.lower(state, batch), _drawn(sizes).lower(_KEY))
    lowered = [program.as_text() for program in programs]
    own = (Target.measure, Target._figures, _products, number)
    code = keys.code(*own, loop, optimizer, *self._code)
    products = _products(sizes, batch)
    rate = _REACHED * self._rate(sizes.dtype)
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    return {
        "key": keys.of(point, *lowered, code, self._task.digest(point)),
        "bytes": 2 * held,
        "seconds": point["steps"] * _BACKWARD * products / rate,
        "repeats": 1,
        "resumable": True,
    }

  def measure(
      self, point: Point, replicate: int, settings: Settings
  ) -> dict[str, Any]:
    """The record of one run, gone on with or begun in this process."""
    kernel.use_cache(settings.get("cache"))
    key = self.plan(point, settings)["key"]
    kept, seed = pathlib.Path(settings["kept"]), point["seed"] + replicate
    sizes = self._task.sizes(point)
    data = self._task.data(point, seed, kept)
    plan = loop.Plan(
        parameters=lambda: transformer.init(jax.random.key(seed), sizes),
        loss=step.cross_entropy(sizes),
        optimizer=self._task.optimizer(point).make(),
        batch=data.batch,
        judge=data.judge,
        steps=point["steps"],
        round=-(-point["steps"] // point["rounds"]),
        every=max(1, point["steps"] // _LINES),
    )
    name = f"{key}-{replicate}"
    folder = kept / "runs" / name
    outcome = loop.run(
        plan, folder, progress=self._progress(sizes, plan), say=self.tell
    )
    parameters = outcome.state.parameters
    record = kernel.identity(point, replicate, key)
    record |= self._figures(point, sizes, plan, outcome)
    run = Run(point, seed, name)
    return record | self._task.ended(run, parameters, kept)

  def _progress(
      self, sizes: Sizes, plan: loop.Plan
  ) -> Callable[[loop.Progress], None]:
    """What tells of each line of metrics."""
    batch, rate = plan.batch(0), self._rate(sizes.dtype)
    share = _BACKWARD * _products(sizes, batch) / batch.tokens.size / rate

    def progress(told: loop.Progress) -> None:
      self.tell(
          f"{told.step:,}/{told.steps:,}, {told.loss:.3f} nats,"
          f" {told.tokens_per_second:,.0f}/s,"
          f" {units.share(share * told.tokens_per_second)} of products,"
          f" {units.clock(told.seconds_left)} left"
      )

    return progress

  def _run(self, point: Point) -> Any:
    sizes = self._task.sizes(point)
    made = self._task.optimizer(point).make()
    return step.make(step.cross_entropy(sizes), made)

  def _shapes(self, point: Point) -> tuple[Any, Batch]:
    """Shapes of a state and of a batch."""
    sizes, made = self._task.sizes(point), self._task.optimizer(point).make()
    start = lambda: step.start(transformer.init(jax.random.key(0), sizes), made)
    shape = (point["batch"], point["length"])
    tokens, weights = (
        jax.ShapeDtypeStruct(shape, kind) for kind in (jnp.int32, jnp.float32)
    )
    shapes: Any = (tokens, tokens, weights)
    batch = Batch(*shapes)
    return jax.eval_shape(start), batch

  def _figures(
      self, point: Point, sizes: Sizes, plan: loop.Plan, outcome: loop.Outcome
  ) -> dict[str, Any]:
    """The fields of a record that tell how a run went."""
    lines = [x for x in outcome.metrics if "judged" not in x]
    judged = [x for x in outcome.metrics if "judged" in x]
    products = _BACKWARD * _products(sizes, plan.batch(0))
    rate = self._rate(sizes.dtype)
    return {
        "status": "ok",  # another seed may end otherwise
        "reason": "",
        "seconds": [outcome.seconds],
        "calls": point["steps"],
        "ceilings": {"products_per_second": rate},
        "parameters": transformer.count(outcome.state.parameters),
        "products": products,
        # Of this process, whose rate it is a share of.
        "utilisation": outcome.speed and products * outcome.speed / rate,
        "skipped": lines[-1]["skipped"] if lines else None,
        "curve": [[x["step"], x["seconds"], number(x["loss"])] for x in lines],
        "judged": [
            {"step": x["step"], "seconds": x["seconds"]}
            | {name: number(y) for name, y in x["judged"].items()}
            for x in judged
        ],
    }


def check(point: Point) -> None:
  """Raises ValueError where a point is of no model that is trained here."""
  if point["dtype"] not in _DTYPES:
    raise ValueError(
        f"dtype: expected one of {', '.join(_DTYPES)} to train with, got"
        f" {point['dtype']}"
    )
  if point["value_width"] != point["width"]:
    raise ValueError(
        f"value_width: expected the width, {point['width']}, got"
        f" {point['value_width']}"
    )


def _drawn(sizes: Sizes) -> Any:
  """The program of a model's first parameters."""
  return jax.jit(lambda key: transformer.init(key, sizes))


def number(value: float) -> float | None:
  """Returns a number that JSON can hold: None where it is not finite."""
  return value if math.isfinite(value) else None


def _products(sizes: Sizes, batch: Batch) -> int:
  """Products of one forward pass over a batch."""
  parameters = jax.eval_shape(
      lambda: transformer.init(jax.random.key(0), sizes)
  )
  loss = step.cross_entropy(sizes)
  return operations.count(loss, parameters, batch).products


def _say(line: str) -> None:
  print(line, file=sys.stderr, flush=True)
