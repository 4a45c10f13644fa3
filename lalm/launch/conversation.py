"""A list of points through worker processes until each has its answer.

A worker that dies, or does not answer in time, costs the point it was at; the
next process goes on with the rest.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
import signal
import time
from typing import Any, NamedTuple

from lalm.launch import child
from lalm.launch.grid import Point
from lalm.launch.survey import SweepError
from lalm.measure import worker

WORKER = "lalm.measure.worker"
_PLACE = ("device", "device_kind", "machine")  # the plainest word first
_ATTEMPTS = 3  # workers in a row that may end before they reach a point
_SEARCHED = 20  # last lines of standard error that may tell of memory
_REASON = 300  # characters


class Spent(Exception):
  """The time for the whole sweep is over."""


class Answer(NamedTuple):
  """What came of a point.

  Attributes:
    position: which point.
    fields: of a plan or a record; `status` and `reason` where it failed.
    seconds: from the point's start to its end.
    ready: what the worker said of itself before its first point.
  """

  position: int
  fields: dict[str, Any]
  seconds: float
  ready: Mapping[str, Any]


class Job(NamedTuple):
  """What workers are to do.

  Attributes:
    target: `package.module:ATTRIBUTE` of the measuring target.
    task: "plan" or "measure".
    points: all points.
    replicate: which replicate this is.
    settings: passed on to the target.
    limits: seconds after which each point counts as hanging.
    allowance: seconds for the start of a worker.
    deadline: on the monotonic clock; all must be over by then.
    surveyed: the surroundings that the sweep began with; a worker with another
      device is refused.
    told: takes a line that a worker has for the user, while it measures.
  """

  target: str
  task: str
  points: Sequence[Point]
  replicate: int
  settings: Mapping[str, Any]
  limits: Sequence[float]
  allowance: float
  deadline: float
  surveyed: Mapping[str, Any]
  told: Callable[[str], None] = lambda text: None


def converse(
    job: Job, order: Sequence[int], wanted: Callable[[int], bool]
) -> Generator[Answer, None, None]:
  """Yields the answer of each wanted point.

  Args:
    job: what is to be done.
    order: positions of the points in the order they are visited.
    wanted: asked before a worker starts and after each answer; the worker is
      replaced when a point it still has ahead is wanted no more.

  Raises:
    Spent: the deadline has passed; what has no answer yet has none.
    SweepError: workers end before they reach a point, or one is elsewhere.
  """
  pending = list(order)
  idle = 0
  while queue := [index for index in pending if wanted(index)]:
    before = len(pending)
    with child.Child([WORKER, job.target]) as process:
      points = [job.points[index] for index in queue]
      process.send(
          {
              "task": job.task,
              "replicate": job.replicate,
              "points": points,
              "settings": job.settings,
          }
      )
      for answer in _Listener(process, job, queue).answers():
        pending.remove(answer.position)
        yield answer
        if not all(wanted(i) for i in queue if i in pending):
          break
    idle = idle + 1 if len(pending) == before else 0
    if idle == _ATTEMPTS:
      last = (process.errors() or [f"exit status {process.returncode}"])[-1]
      raise SweepError(f"workers end before their first point: {last}")


class _Listener:
  """One worker's side of the conversation."""

  def __init__(
      self, process: child.Child, job: Job, queue: Sequence[int]
  ) -> None:
    self._process = process
    self._job = job
    self._positions = list(queue)
    self._queue = list(queue)
    # While planning nothing is announced: the next point is the one it is at.
    self._current = self._queue[0] if job.task == "plan" else None
    self._since = time.monotonic()
    self._ready: Mapping[str, Any] = {}

  def answers(self) -> Iterator[Answer]:
    """Yields answers until the worker has ended or its time is over."""
    while self._queue:
      try:
        event = self._process.read(self._left())
      except child.Hung:
        if time.monotonic() >= self._job.deadline:
          raise Spent from None
        yield from self._failed("timeout", self._lateness())
        return
      if event is None:
        yield from self._failed(*_cause(self._process))
        return
      if event["event"] == "end":  # before its time: the device is spoilt
        return
      yield from self._heard(event)

  def _limit(self) -> float:
    if self._current is None or self._job.task == "plan":
      return self._job.allowance
    return self._job.limits[self._current]

  def _left(self) -> float:
    now = time.monotonic()
    return max(0.0, min(self._since + self._limit(), self._job.deadline) - now)

  def _lateness(self) -> str:
    return f"no answer within {self._limit():.3g} s"

  def _heard(self, event: child.Event) -> Iterator[Answer]:
    """Takes in an event; yields the answer it may be."""
    kind, index = event["event"], event.get("index")
    if kind == "ready":
      _check_place(event.get("environment") or {}, self._job.surveyed)
      self._ready = event
      self._since = time.monotonic()
    if kind == "told":
      self._job.told(str(event.get("text")))
    if not isinstance(index, int) or not 0 <= index < len(self._positions):
      return
    position = self._positions[index]
    if position not in self._queue:
      return
    if kind == "started":
      self._current = position
      self._since = time.monotonic()
    elif kind == "finished":
      yield from self._answer(position, dict(event.get("record") or {}))
    elif kind in ("planned", "failed"):
      fields = {k: v for k, v in event.items() if k not in ("event", "index")}
      yield from self._answer(position, fields)

  def _answer(self, position: int, fields: dict[str, Any]) -> Iterator[Answer]:
    seconds = time.monotonic() - self._since
    self._queue.remove(position)
    self._current = None
    if self._job.task == "plan" and self._queue:
      self._current = self._queue[0]
    self._since = time.monotonic()
    self._process.forget_errors()
    yield Answer(position, fields, seconds, self._ready)

  def _failed(self, status: str, reason: str) -> Iterator[Answer]:
    """The answer of the point the worker was at, if it was at one."""
    if self._current is not None:
      fields = {"status": status, "reason": reason[:_REASON]}
      yield from self._answer(self._current, fields)


def _check_place(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
  """Raises SweepError where a worker is not where the sweep was surveyed."""
  for name in _PLACE:
    if name in found and name in expected and found[name] != expected[name]:
      raise SweepError(
          f"{name} of a worker: expected {expected[name]}, where the sweep"
          f" began, got {found[name]}; a device that fails to start leaves JAX"
          " with the CPU"
      )


def _cause(process: child.Child) -> tuple[str, str]:
  """Status and reason of a point whose worker has ended by itself."""
  lines = process.errors()
  for line in reversed(lines[-_SEARCHED:]):
    if worker.status_of(RuntimeError(line)) == "out_of_memory":
      return "out_of_memory", line
  code = process.returncode or 0
  if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
    return (
        "out_of_memory",
        "killed by SIGKILL, as the system does without memory",
    )
  if code < 0:
    name = signal.Signals(-code).name
    return "crashed", ": ".join([f"killed by {name}", *lines[-1:]])
  return "crashed", (lines or [f"the worker ended with exit status {code}"])[-1]
