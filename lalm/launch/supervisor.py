"""The replicates of a sweep: one worker process after the other.

Timing must not be disturbed, so at any moment one worker runs. Each replicate
visits its points in an order of its own. What is recorded is not done again;
what is predicted not to fit is `over_budget`; where a point has failed, the
larger lengths of its curve are `skipped`.
"""

import contextlib
import datetime
import pathlib
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence

from lalm import store
from lalm import units
from lalm.launch import budget
from lalm.launch import conversation
from lalm.launch import foresight
from lalm.launch import grid
from lalm.launch import ledger
from lalm.launch import order
from lalm.launch import peaks
from lalm.launch import planning
from lalm.launch.budget import Plan
from lalm.launch.failures import Failures
from lalm.launch.schema import Settings

SCHEMA = 1  # version of a record's fields
# The replicate without a cache. The first fills it, so that compiling is timed
# by two workers and the others need not compile; where peaks are read apart,
# that fills it, and one worker times compiling.
_FILLING, _UNCACHED = 0, 1
_PATIENCE = 10  # times its predicted seconds the calls of a point may take
# What tells where a point was measured; a failure tells it too.
_WHERE = ("machine", "device", "versions", "provenance")
_STATUSES = ("ok", *ledger.FAILED)
# The end of a process, which says nothing of a point that can be gone on with.
_INTERRUPTED = ("crashed", "out_of_memory", "timeout")


class Decision(NamedTuple):
  """What becomes of a point in one replicate: an action and its reason.

  The action is "measure", "done", or the status it is recorded with.
  """

  action: str
  reason: str = ""


class Supervisor:
  """Decides, replicate by replicate, and records what comes back.

  Attributes:
    failures: what has failed, and what that rules out.
    interrupted: a line for each point that the next command goes on with.
    point_budget: seconds for the calls of a point, as decided last.
  """

  def __init__(
      self,
      plans: Sequence[Plan],
      settings: Settings,
      records: ledger.Ledger,
      *,
      experiment: str,
      target: str,
      environment: Mapping[str, Any],
      deadline: float,
      progress: Callable[[foresight.Progress], None] = lambda _: None,
  ) -> None:
    self._plans = list(plans)
    self._settings = settings
    self._records = records
    self._experiment = experiment
    self._target = target
    self._where = {
        name: environment[name] for name in _WHERE if name in environment
    }
    self._surveyed = environment
    self._apart = peaks.needed(environment)
    self._peaks: list[tuple[grid.Point, Mapping[str, Any]]] = []
    self._foresight = foresight.Foresight(progress)
    self._deadline = deadline
    device, host = environment.get("memory_bytes"), budget.available_bytes()
    self._memory = min((n for n in (device, host) if n), default=None)
    self._kept: list[int] = []
    self.failures = Failures(self._plans, records)
    self.interrupted: list[str] = []
    self.point_budget: float = settings["point_budget"]

  def decide(self, replicate: int) -> list[Decision]:
    """What becomes of every point in a replicate, as things stand now."""
    dropped = self._allot(replicate)
    return [
        self._decision(index, replicate, index in dropped)
        for index in range(len(self._plans))
    ]

  def outlook(self) -> list[Decision]:
    """What becomes of every point in the first replicate it still lacks."""
    dropped, last = self._allot(0), self._settings["replicates"] - 1
    return [
        self._decision(index, min(self.done(index), last), index in dropped)
        for index in range(len(self._plans))
    ]

  def done(self, index: int) -> int:
    """In how many replicates a point has been tried."""
    key = self._plans[index].key
    replicates = range(self._settings["replicates"])
    return sum(self._records.tried(key, replicate) for replicate in replicates)

  def _allot(self, replicate: int) -> frozenset[int]:
    """Spends the time left from a replicate on; the points that do not fit."""
    workers = self._settings["replicates"] - replicate
    seconds = self._deadline - time.monotonic() - budget.START * workers
    allotment = budget.allot(
        self._plans,
        [self.visits(index, replicate) for index in range(len(self._plans))],
        seconds,
        self._settings["point_budget"],
    )
    self.point_budget = allotment.point_budget
    return allotment.dropped

  def run(self, ready: Callable[[Mapping[str, Any]], None]) -> None:
    """Measures all that is to be measured and records every outcome.

    Args:
      ready: told what each worker says of itself and its surroundings.

    Raises:
      StoreError: a record could not be written.
      SweepError: workers end before their first point, or one has another
        device than the sweep.
    """
    for index, made in enumerate(self._plans):
      if made.failure:
        status, reason = made.failure
        fields = {"status": status, "reason": reason, "planned": False}
        self._add(index, 0, fields)
    for replicate in range(self._settings["replicates"]):
      self._replicate(replicate, ready)
    self._foresight.over()

  def visits(self, index: int, replicate: int = 0) -> budget.Visits:
    """The replicates of a point, from this one on, that may be measured."""
    made = self._plans[index]
    if made.failure or not budget.fits_memory(made, self._memory):
      return budget.Visits(0)
    wanted = [
        later
        for later in range(replicate, self._settings["replicates"])
        if not self._records.tried(made.key, later)
        and not self.failures.blocked(index, later)
    ]
    return budget.Visits(len(wanted), sum(map(_compiles, wanted)))

  def _decision(self, index: int, replicate: int, dropped: bool) -> Decision:
    made = self._plans[index]
    if made.failure:
      return Decision(*made.failure)
    if self._records.tried(made.key, replicate):
      return Decision("done")
    if not budget.fits_memory(made, self._memory):
      needed = units.size(made.bytes)
      found = units.size(self._memory)
      return Decision("over_budget", f"needs {needed}, {found} are available")
    if reason := self.failures.blocked(index, replicate):
      return Decision("skipped", reason)
    if time.monotonic() >= self._deadline:
      return Decision("over_budget", "the sweep's time was over")
    if dropped:
      return Decision(
          "over_budget",
          f"takes {made.least:.3g} s or more in each replicate, too long for "
          f"a sweep of {self._settings['budget']:.3g} s",
      )
    return Decision("measure")

  def _replicate(
      self, replicate: int, ready: Callable[[Mapping[str, Any]], None]
  ) -> None:
    self._records.refresh()
    decisions = self.decide(replicate)
    # What is to be skipped may be wanted yet: the failure may not come again.
    todo = [
        index
        for index, decision in enumerate(decisions)
        if decision.action in ("measure", "skipped")
    ]
    self._kept = [
        index
        for index, decision in enumerate(decisions)
        if decision.action != "over_budget"
    ]
    self._foresight.expect(
        sum(self.visits(index, replicate).times for index in self._kept)
    )
    if todo:
      seed, points = self._settings["seed"], [p.point for p in self._plans]
      visited = order.visiting(todo, seed, replicate)
      apart = self._apart and replicate == _FILLING
      groups = order.groups(visited, points) if apart else [visited]
      for group in groups:
        if apart:
          self._read_peaks(replicate, group)
        self._measure(replicate, group, ready)
    for index, decision in enumerate(decisions):
      if index in todo:
        # Recorded by now, or a smaller length has failed, or time was short.
        decision = self._decision(index, replicate, False)
      if decision.action in store.NOT_TRIED:
        status, reason = decision
        self._add(index, replicate, {"status": status, "reason": reason})

  def _read_peaks(self, replicate: int, todo: Sequence[int]) -> None:
    """Has peaks read by processes of their own."""
    job = self._job(replicate, todo)

    def wanted(index: int) -> bool:
      return not self.failures.blocked(index, replicate)

    readings = peaks.read(job, todo, self._plans, wanted)
    with contextlib.suppress(conversation.Spent):
      with contextlib.closing(readings):
        for index, peak in readings:
          self._peaks.append((self._plans[index].point, peak))

  def _measure(
      self,
      replicate: int,
      todo: Sequence[int],
      ready: Callable[[Mapping[str, Any]], None],
  ) -> None:
    """Measures points, as long as there is time."""
    job = self._job(replicate, todo)
    waiting = list(todo)
    self._foresight.ends_in(self._seconds_left(waiting, replicate))

    def wanted(index: int) -> bool:
      return not self.failures.blocked(index, replicate)

    answers = conversation.converse(job, todo, wanted)
    announced: Mapping[str, Any] = {}
    with contextlib.suppress(conversation.Spent):
      with contextlib.closing(answers):
        for answer in answers:
          if answer.ready and answer.ready is not announced:
            announced = answer.ready
            ready(announced)
          waiting.remove(answer.position)
          self._add(
              answer.position,
              replicate,
              answer.fields,
              answer.ready,
              answer.seconds,
          )
          self._learn(answer)
          self._foresight.ends_in(self._seconds_left(waiting, replicate))
          self._foresight.visited(
              grid.label(self._plans[answer.position].point)
          )

  def _job(self, replicate: int, todo: Sequence[int]) -> conversation.Job:
    gated = all(
        any(r["status"] == "ok" for r in self._records.of(self._plans[i].key))
        for i in todo
        if not self.failures.blocked(i, replicate)
    )
    cache = None
    if replicate != _UNCACHED:
      cache = str(_cache(self._records.folder))
    allowance = self._settings["allowance"]
    return conversation.Job(
        target=self._target,
        task="measure",
        points=[made.point for made in self._plans],
        replicate=replicate,
        settings=planning.worker_settings(
            self._settings, self.point_budget, cache, gate=not gated
        )
        | {
            "kept": str(_cache(self._records.folder)),
            "peaks": self._peaks if replicate == _FILLING else [],
        },
        limits=[
            allowance + _PATIENCE * made.calls(self.point_budget)
            for made in self._plans
        ],
        allowance=allowance,
        deadline=self._deadline,
        surveyed=self._surveyed,
        told=self._foresight.hear,
    )

  def _add(
      self,
      index: int,
      replicate: int,
      fields: Mapping[str, Any],
      ready: Mapping[str, Any] | None = None,
      seconds: float = 0.0,
  ) -> None:
    """Records what came of a point some seconds after it was started.

    Its identity is never the worker's word.
    """
    made = self._plans[index]
    fields = _checked(fields)
    if made.resumable and fields["status"] in _INTERRUPTED:
      reason = f"interrupted, {fields['status']}: {fields.get('reason', '')}"
      fields = {"status": "skipped", "reason": reason}
      self.interrupted.append(f"{grid.label(made.point)}: {reason}")
    ceilings = (ready or {}).get("ceilings")
    now = datetime.datetime.now(datetime.timezone.utc)
    started = now - datetime.timedelta(seconds=seconds)
    record = {
        "provenance": "measured",
        "reason": "",
        "started": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
        **self._where,
        **({"ceilings": ceilings} if ceilings else {}),
        **fields,
        "schema": SCHEMA,
        "key": made.key,
        "replicate": replicate,
        "experiment": self._experiment,
        "point": made.point,
    }
    try:
      self._records.add(record)
    except (TypeError, ValueError) as error:
      reason = f"a record that cannot be kept: {error}"
      self._add(index, replicate, {"status": "crashed", "reason": reason})

  def _learn(self, answer: conversation.Answer) -> None:
    made = self._plans[answer.position]
    self._plans[answer.position] = budget.updated(
        made, answer.fields, answer.seconds, self.point_budget
    )

  def _seconds_left(self, waiting: Sequence[int], replicate: int) -> float:
    """Seconds until the end, predicted."""
    later = self._settings["replicates"] - replicate - 1
    left = later * budget.START
    wanted = [(i, budget.Visits(1, _compiles(replicate))) for i in waiting]
    wanted += [(i, self.visits(i, replicate + 1)) for i in self._kept]
    for i, visits in wanted:
      left += self._plans[i].cost(self.point_budget, visits)
    return min(left, max(0.0, self._deadline - time.monotonic()))


def _checked(fields: Mapping[str, Any]) -> Mapping[str, Any]:
  """The fields, or a failure where their status is none that is known."""
  status = fields.get("status")
  if status in _STATUSES or status in store.NOT_TRIED:
    return fields
  return {"status": "crashed", "reason": f"the worker's status is {status!r}"}


def _compiles(replicate: int) -> bool:
  """Whether a replicate compiles its points."""
  return replicate in (_FILLING, _UNCACHED)


def _cache(folder: pathlib.Path) -> pathlib.Path:
  """What is kept beside a device's records, which no commit takes in."""
  cache = folder / ".cache"
  if not (cache / ".gitignore").exists():
    store.replace(cache / ".gitignore", "*\n")
  return cache
