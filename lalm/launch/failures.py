"""What has failed in a sweep, and what need not be tried because of it.

Where a length has failed in every replicate that reached it, the larger lengths
of its curve are not tried, unless it was refused: a window may fit a longer
one. As soon as another replicate measures it well, the failure was the
process's own (somebody ended the worker) and they are.
"""

from typing import Sequence

from lalm.launch import grid
from lalm.launch.budget import Plan
from lalm.launch.ledger import FAILED, REFUSED, Ledger

# How many replicates of a point may fail before it is given up. A worker may
# be ended from outside; a wrong value or a hang will come again.
_TRIES = {"crashed": 2, "out_of_memory": 2}


class Failures:
  """The failures among the records of some plans."""

  def __init__(self, plans: Sequence[Plan], records: Ledger) -> None:
    self._plans = plans
    self._records = records
    curves: dict[tuple[object, ...], list[int]] = {}
    for index, made in enumerate(plans):
      curves.setdefault(grid.curve(made.point), []).append(index)
    by_length = [
        sorted(curve, key=lambda i: plans[i].point["length"])
        for curve in curves.values()
    ]
    self._shorter = {
        index: curve[:rank]
        for curve in by_length
        for rank, index in enumerate(curve)
    }

  def blocked(self, index: int, replicate: int) -> str:
    """Why a point must not be tried, "" where it may be.

    Args:
      index: position of the point among the plans.
      replicate: where it would be tried.
    """
    for shorter in self._shorter[index]:
      if status := self._failed(shorter, 1):
        length = self._plans[shorter].point["length"]
        return f"{status} at length {length}"
    if self._records.tried(self._plans[index].key, replicate):
      return ""
    status = self._failed(index, None)
    return f"{status} in another replicate" if status else ""

  def lines(self) -> list[str]:
    """One line for each point with a replicate that failed."""
    lines = []
    for made in self._plans:
      failed = [
          record
          for record in self._records.of(made.key)
          if record["status"] in FAILED
      ]
      if failed:
        label, status = grid.label(made.point), failed[0]["status"]
        count = f" in {len(failed)} replicates" if len(failed) > 1 else ""
        lines.append(f"{label}: {status}{count}: {failed[0].get('reason')}")
    return lines

  def _failed(self, index: int, tries: int | None) -> str:
    """The status of a point never measured well, "" where there is none.

    Args:
      index: position of the point among the plans.
      tries: how many failures it takes; None: as many as are made of the kind.
    """
    made = self._plans[index]
    if made.failure:  # what is refused at one length may fit a larger one
      status = made.failure[0]
      return "" if status == REFUSED else status
    statuses = [record["status"] for record in self._records.of(made.key)]
    if "ok" in statuses:
      return ""
    for status in FAILED:
      if statuses.count(status) >= (tries or _TRIES.get(status, 1)):
        return status
    return ""
