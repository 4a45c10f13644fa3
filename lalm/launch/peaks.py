"""Peaks of memory, read by processes that do nothing else.

Where a device's high-water mark cannot be reset, a peak is read in a fresh
process, and before the process that times has taken the device. One process
reads several, the smallest first: a mark that rises tells of the call that has
raised it. What does not rise is read again, by the next process.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
import contextlib
from typing import Any, NamedTuple

from lalm.launch import conversation
from lalm.launch.budget import Plan

_AFRESH = ("peak_bytes_in_use", "ru_maxrss")  # see lalm.measure.memory


class Reading(NamedTuple):
  """The peak of a point: `bytes` and `method`, and its position."""

  position: int
  peak: Mapping[str, Any]


def needed(environment: Mapping[str, Any]) -> bool:
  """Whether a target's surroundings ask for processes of their own."""
  return environment.get("memory_method") in _AFRESH


def read(
    job: conversation.Job,
    order: Sequence[int],
    plans: Sequence[Plan],
    wanted: Callable[[int], bool],
) -> Generator[Reading, None, None]:
  """Yields the peaks of points.

  One that no process can tell is passed over, as is a point that fails: what
  becomes of it is told by the process that measures it.

  Args:
    job: as it will be measured; asked is `PEAK` of its target's module.
    order: positions of the points.
    plans: of all points, with the bytes they are predicted to take.
    wanted: asked before each point; what is not wanted is passed over too.

  Raises:
    Spent: the sweep's time is over.
    SweepError: processes end before they reach a point, or one is elsewhere.
  """
  module = job.target.rpartition(":")[0]
  asked = job._replace(target=f"{module}:PEAK")
  left = sorted(order, key=lambda i: plans[i].bytes or 0)
  tries = 2  # the first compiles, and what that takes may hide the rest
  while left and tries:
    again: list[int] = []
    answers = conversation.converse(asked, left, wanted)
    with contextlib.closing(answers):
      for answer in answers:
        found = answer.fields
        if "status" in found or found.get("method") is None:
          continue
        if found.get("bytes") is None:
          again.append(answer.position)
        else:
          yield Reading(answer.position, found)
    tries = tries - 1 if len(again) == len(left) else 2
    left = again
