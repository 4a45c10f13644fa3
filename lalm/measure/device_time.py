"""Seconds a device works at a call, by the profile it keeps of itself.

A wall clock also counts what the host needs to start a program, a few tens of
microseconds on a GPU, and the answer's way back; a short kernel's law would be
the host's. Read from the profile are

  GPU  when any of the streams ran a kernel or moved memory
  TPU  when a program ran

and what several streams do at once counts once.
"""

from collections.abc import Callable, Iterable, Iterator
import pathlib
import re
import tempfile
from typing import Any

import jax

from lalm.measure import worker

_FEWEST, _MOST = 3, 30  # calls in a profile
_DEVICE = re.compile(r"/device:(GPU|TPU):(\d+)$")
_LINE = {"GPU": re.compile(r"Stream #"), "TPU": re.compile(r"XLA Modules$")}

Interval = tuple[float, float]  # nanoseconds


def measure(
    call: Callable[[], Any], expected: float, budget: float
) -> dict[str, Any]:
  """Profiles a few calls.

  Args:
    call: runs once what is measured and returns its arrays; it has run before.
    expected: seconds of a call.
    budget: seconds for all calls, of which there are three at least.

  Returns:
    `seconds` of a call, mean of so many `calls`; None and a `reason` where the
    profile has nothing of a device, or there is none.
  """
  calls = min(max(int(budget / max(expected, 1e-9)), _FEWEST), _MOST)
  reason = "the profile has no line of a GPU's or TPU's work"
  try:
    seconds = _profile(call, calls)
  except Exception as error:  # the wall clock's seconds are there already
    seconds, reason = 0.0, worker.reason_of(error)
  if not seconds:
    return {"seconds": None, "calls": calls, "reason": reason}
  return {"seconds": seconds / calls, "calls": calls, "reason": ""}


def _profile(call: Callable[[], Any], calls: int) -> float:
  """Seconds in which a device worked at so many calls; 0 without a line."""
  with tempfile.TemporaryDirectory() as folder:
    with jax.profiler.trace(folder):
      for _ in range(calls):
        jax.block_until_ready(call())
    files = list(pathlib.Path(folder).rglob("*.xplane.pb"))
    profiles = [jax.profiler.ProfileData.from_file(str(f)) for f in files]
    return sum(map(busy, profiles))


def busy(profile: Any) -> float:
  """Seconds in which the first device of a profile worked; 0 without one.

  Args:
    profile: a `jax.profiler.ProfileData`.
  """
  found = {}
  for plane in profile.planes:
    if match := _DEVICE.search(plane.name):
      found[int(match[2])] = list(_intervals(plane, _LINE[match[1]]))
  first = next((found[i] for i in sorted(found) if found[i]), [])
  return _covered(first) * 1e-9


def _intervals(plane: Any, name: re.Pattern) -> Iterator[Interval]:
  for line in plane.lines:
    if name.match(line.name):
      for event in line.events:
        yield event.start_ns, event.start_ns + event.duration_ns


def _covered(intervals: Iterable[Interval]) -> float:
  """The length of a union of intervals."""
  total, end = 0.0, float("-inf")
  for start, stop in sorted(intervals):
    total += max(0.0, stop - max(start, end))
    end = max(end, stop)
  return total
