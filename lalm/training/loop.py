"""The loop: rounds of steps, each ended by a judgement and a checkpoint.

A run is a folder: `metrics.jsonl` and `checkpoints/`. It goes on from its last
whole checkpoint, and ends with the parameters, bit for bit, and the lines of a
run that was never interrupted (but for seconds, which are those it took).
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import fcntl
import os
import pathlib
import time
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from lalm import store
from lalm.data.batches import Batch
from lalm.training import checkpoint
from lalm.training import step as step_lib


class Busy(OSError):
  """Another process is at a run; one line with its folder."""


@dataclasses.dataclass(frozen=True)
class Plan:
  """A run.

  Attributes:
    parameters: makes those of the first step.
    loss: sum over a batch.
    optimizer: as `optimizer.Optimizer.make` returns it.
    batch: from a step to its batch.
    judge: from parameters to metrics, among them "loss" in nats, by which the
      best checkpoint is known.
    steps: in all.
    round: steps between two judgements.
    every: steps between two lines of metrics.
    parts: of a batch, as in `step.make`.
  """

  parameters: Callable[[], Any]
  loss: step_lib.Loss
  optimizer: optax.GradientTransformation
  batch: Callable[[int], Batch]
  judge: Callable[[Any], dict[str, float]]
  steps: int
  round: int
  every: int = 10
  parts: int = 1

  def __post_init__(self) -> None:
    for name in ("steps", "round", "every"):
      if getattr(self, name) < 1:
        raise ValueError(
            f"{name}: expected 1 or more, got {getattr(self, name)}"
        )


class Progress(NamedTuple):
  """How far a run is.

  Attributes:
    step: steps done.
    steps: in all.
    loss: nats a token, the mean of the steps since the last report.
    tokens_per_second: of the steps since the last report.
    seconds_left: predicted.
  """

  step: int
  steps: int
  loss: float
  tokens_per_second: float
  seconds_left: float


class Outcome(NamedTuple):
  """What a run ends with.

  Attributes:
    state: after the last step.
    metrics: all lines.
    seconds: of all steps, whichever process took them.
    speed: steps a second of this process, None where it took none.
  """

  state: step_lib.State
  metrics: list[dict[str, Any]]
  seconds: float
  speed: float | None


def run(
    plan: Plan,
    folder: pathlib.Path,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
  """Runs a plan in its folder, from where it is.

  Args:
    plan: the run.
    folder: of this run alone.
    progress: called with each line of metrics.
    say: is told what a user should know, in a line.

  Raises:
    Busy: another process is at this run.
    CheckpointError: one cannot be written, or none can be read.
    ValueError: the folder's run has more steps.
  """
  state = step_lib.start(plan.parameters(), plan.optimizer)
  with contextlib.ExitStack() as held:
    held.enter_context(_alone(folder))
    kept = checkpoint.Checkpoints(folder / "checkpoints", say)
    held.callback(kept.close)
    found = kept.latest(state)
    seconds = 0.0
    if found is not None:
      state, seconds = found.state, found.notes["seconds"]
    if int(state.step) > plan.steps:
      raise ValueError(
          f"{folder}: expected a run of at most {plan.steps} steps, got one of"
          f" {int(state.step)}"
      )
    lines = _Lines(folder / "metrics.jsonl", int(state.step), say)
    return _Run(plan, kept, lines, progress, seconds).go(state)


@contextlib.contextmanager
def _alone(folder: pathlib.Path) -> Iterator[None]:
  """Keeps other processes from a run, until this one ends in any way."""
  folder.mkdir(parents=True, exist_ok=True)
  descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
  try:
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise Busy(f"{folder}: another process is at this run") from error
    yield
  finally:
    os.close(descriptor)


class _Run:
  """One process's part of a run."""

  def __init__(
      self,
      plan: Plan,
      kept: checkpoint.Checkpoints,
      lines: "_Lines",
      progress: Callable[[Progress], None],
      seconds: float,
  ) -> None:
    self._plan, self._kept, self._lines = plan, kept, lines
    self._progress = progress
    self._before = seconds  # of other processes
    self._seconds = seconds  # of training, not of compiling or judging
    self._step: Any = step_lib.make(plan.loss, plan.optimizer, plan.parts)

  def go(self, state: step_lib.State) -> Outcome:
    plan, begun = self._plan, int(state.step)
    done = begun
    if not self._lines.judged(done):  # at the start, or its line is damaged
      self._end_round(state, done)
    while done < plan.steps:
      until = min(done + plan.every, _next(done, plan.round), plan.steps)
      state = self._steps(state, done, until)
      done = until
      if done % plan.round == 0 or done == plan.steps:
        self._end_round(state, done)
    taken = self._seconds - self._before
    speed = (done - begun) / taken if done > begun else None
    return Outcome(state, self._lines.all, self._seconds, speed)

  def _steps(
      self, state: step_lib.State, done: int, until: int
  ) -> step_lib.State:
    """Some steps and their line."""
    tokens, losses = 0, []
    compiled = self._warm(state, done)
    start = time.perf_counter()
    for number in range(done, until):
      batch = self._plan.batch(number)
      tokens += batch.tokens.size
      state, metrics = compiled(state, batch)
      losses.append(metrics.loss)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - start
    self._seconds += seconds
    line = {
        "step": until,
        "loss": float(np.mean(jax.device_get(losses))),
        "gradient_norm": float(metrics.gradient_norm),
        "skipped": int(metrics.skipped),
        "tokens": tokens,
        "seconds": self._seconds,
    }
    self._lines.add(line)
    left = seconds / (until - done) * (self._plan.steps - until)
    self._progress(
        Progress(until, self._plan.steps, line["loss"], tokens / seconds, left)
    )
    return state

  def _warm(self, state: step_lib.State, done: int) -> Any:
    """The step, compiled before the clock starts."""
    if not isinstance(self._step, jax.stages.Compiled):
      batch = self._plan.batch(done)
      self._step = self._step.lower(state, batch).compile()
    return self._step

  def _end_round(self, state: step_lib.State, done: int) -> None:
    judged = self._plan.judge(state.parameters)
    self._lines.add({"step": done, "seconds": self._seconds, "judged": judged})
    notes = {"seconds": self._seconds}
    self._kept.save(done, state, judged["loss"], notes)


def _next(done: int, period: int) -> int:
  return (done // period + 1) * period


def lines(
    path: pathlib.Path, until: int, say: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
  """Returns a run's lines of metrics up to a step, each once.

  Args:
    path: of `metrics.jsonl`, which holds twice what was done twice, before and
      after an interruption.
    until: the last step wanted.
    say: is told of lines that are damaged, which are left out.
  """
  found = store.load(path)
  if found.damage:
    say(f"{path}: lines that are damaged are left out: {len(found.damage)}")
  latest = {
      (line["step"], "judged" in line): line
      for line in found.records
      if line["step"] <= until
  }
  return [latest[place] for place in sorted(latest)]


class _Lines:
  """The lines of a run that goes on from a step."""

  def __init__(
      self, path: pathlib.Path, done: int, say: Callable[[str], None]
  ) -> None:
    self._path = path
    self.all = lines(path, done, say) if done else []

  def judged(self, step: int) -> bool:
    """Whether a judgement of a step is there."""
    return any(x["step"] == step and "judged" in x for x in self.all)

  def add(self, line: dict[str, Any]) -> None:
    """Adds a line, which is on the disk when this returns."""
    self.all.append(line)
    store.append(self._path, line)
