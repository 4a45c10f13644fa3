"""What fits into memory and into the seconds of a sweep.

A point costs, in one replicate, its calls and the rest: tracing, lowering,
checking; and in those without a filled cache, compiling. The calls take as long
as the sweep's share for a point, or until its time is known well, but never
less than one that is checked, one whose memory is taken and three that are
timed. Where a sweep is too long, first the share shrinks to a quarter, then the
dearest points are dropped: one of them would cost many others the samples that
tell a law from noise. Points that cost no more than a few shares stay as long
as there is any time for them.
"""

import math
import os
from typing import Any, NamedTuple, Sequence

from lalm.launch.grid import Point

CALLS = 5  # at least: one checked, one for memory, three timed
SHARE_OF_MEMORY = 0.8  # of what is available, that a point may be meant to use
START = 4.0  # seconds to start a worker, imports and ceilings included
SMALLEST_SHARE = 1e-3  # seconds; three calls are timed whatever the share
FAIR_SHARE = 0.25  # of the point budget; below it, dear points are given up
DEAR = 10  # fair shares that a point takes at least if it is dear
# Seconds at a point beside its calls, before any was measured.
REST, COMPILING = 0.6, 1.0


class Visits(NamedTuple):
  """How often a point is to be measured, and how often compiled for it."""

  times: int
  compiling: int = 0


class Plan(NamedTuple):
  """A point and what it is predicted to cost.

  Attributes:
    point: where in the grid.
    key: identity of its measurement.
    bytes: predicted peak memory, None if unknown.
    seconds: of one call, predicted or, once there is one, measured.
    rest: seconds beside the calls and compiling.
    compiling: seconds of compiling it.
    enough: seconds of calls after which its time is known well.
    repeats: how often a replicate calls it at least. With one there is nothing
      to sample: it costs what it takes from start to end.
    failure: (status, reason) where planning it has failed already.
    resumable: whether a process that ends within it leaves what the next goes
      on from, so that its end is no failure of the point.
  """

  point: Point
  key: str
  bytes: int | None = None
  seconds: float = 0.0
  rest: float = REST
  compiling: float = COMPILING
  enough: float = math.inf
  repeats: int = CALLS
  failure: tuple[str, str] | None = None
  resumable: bool = False

  @property
  def least(self) -> float:
    """Seconds one replicate takes at least, where nothing is compiled."""
    return self.calls(0.0) + self.rest

  def calls(self, point_budget: float) -> float:
    """Seconds of the calls of one replicate, given a point's share."""
    least = self.repeats * self.seconds
    if self.repeats == 1:
      return least
    return max(least, min(point_budget, self.enough))

  def cost(self, point_budget: float, visits: Visits) -> float:
    """Seconds of some visits, given the share for the calls of each."""
    once = self.calls(point_budget) + self.rest
    return visits.times * once + visits.compiling * self.compiling


class Allotment(NamedTuple):
  """How the seconds left are spent.

  Attributes:
    point_budget: seconds for the calls of a point.
    dropped: positions of the plans that do not fit.
  """

  point_budget: float
  dropped: frozenset[int]


def allot(
    plans: Sequence[Plan],
    visits: Sequence[Visits],
    seconds: float,
    point_budget: float,
) -> Allotment:
  """Spends seconds on plans, each of which is to be visited so many times.

  Args:
    plans: what there is to do.
    visits: for each plan, how often.
    seconds: the time there is for all of them.
    point_budget: the most that the calls of one point may take.
  """
  kept = {i for i, wanted in enumerate(visits) if wanted.times}
  dropped: set[int] = set()
  dearest = sorted(
      kept, key=lambda i: (plans[i].least, plans[i].point["length"])
  )
  fair = FAIR_SHARE * point_budget

  def total(share: float) -> float:
    return sum(plans[i].cost(share, visits[i]) for i in kept)

  def crowded() -> bool:
    """Whether the dearest point is one too many."""
    dear = plans[dearest[-1]].least > DEAR * fair
    return total(fair if dear else 0.0) > seconds

  while kept and crowded():
    dropped.add(dearest.pop())
    kept -= dropped
  share = point_budget
  if total(share) > seconds:
    # The total grows with the share, and the least of all kept plans fits.
    low, high = 0.0, point_budget
    for _ in range(40):
      share = (low + high) / 2
      low, high = (share, high) if total(share) <= seconds else (low, share)
    share = max(low, SMALLEST_SHARE)
  return Allotment(share, frozenset(dropped))


def available_bytes() -> int | None:
  """Memory that a new process may use, in bytes; None if the system is mute."""
  found = [_meminfo(), _cgroup()]
  return min((n for n in found if n is not None), default=None)


def _meminfo() -> int | None:
  try:
    with open("/proc/meminfo", encoding="ascii") as file:
      for line in file:
        if line.startswith("MemAvailable:"):
          return int(line.split()[1]) * 1024
  except OSError:
    pass
  try:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  except (ValueError, OSError):
    return None


def _cgroup() -> int | None:
  """What the control group leaves, where it sets a limit."""
  folder = "/sys/fs/cgroup/"
  try:
    with open(folder + "memory.max", encoding="ascii") as file:
      limit = int(file.read())
    with open(folder + "memory.current", encoding="ascii") as file:
      used = int(file.read())
    with open(folder + "memory.stat", encoding="ascii") as file:
      cached = dict(line.split() for line in file).get("inactive_file", "0")
    return max(0, limit - used + int(cached))
  except (OSError, ValueError):
    return None


def fits_memory(plan: Plan, available: int | None) -> bool:
  """Whether a point is predicted to stay within its share of the memory."""
  if plan.bytes is None or available is None:
    return True
  return plan.bytes <= SHARE_OF_MEMORY * available


def updated(
    plan: Plan, record: dict[str, Any], wall: float, point_budget: float
) -> Plan:
  """The plan with what a measurement has taught about its cost.

  Args:
    plan: as predicted.
    record: the finished record of the point.
    wall: seconds from its start to its end.
    point_budget: the share its calls had.
  """
  if record.get("status") != "ok":
    return plan
  if plan.repeats == 1:  # seconds in the record may be more than it took
    return plan._replace(seconds=wall, rest=0.0, compiling=0.0)
  samples = record.get("seconds")
  if not samples:
    return plan
  seconds = sorted(samples)[len(samples) // 2]
  spent = (max(record.get("calls") or 0, len(samples)) + 2) * seconds
  learnt = plan._replace(
      seconds=seconds, enough=spent if spent < point_budget else math.inf
  )
  compiled = record.get("compile_seconds")
  once = (compiled or 0.0) + (record.get("once_seconds") or 0.0)
  rest = wall - learnt.calls(point_budget) - once
  return learnt._replace(
      rest=max(0.0, rest),
      compiling=plan.compiling if compiled is None else compiled,
  )
