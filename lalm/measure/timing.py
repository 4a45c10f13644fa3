"""Seconds of one call: warmed up, in batches, every sample kept.

A sample is the mean of a batch of calls, each waited for before the next, for a
device may otherwise work on several at once. Calls shorter than 100
microseconds are batched to a millisecond, far above the clock's own cost. Which
samples are outliers is for the statistics to say: none is dropped here.
"""

import gc
import math
import statistics
import time
from typing import Any, Callable, NamedTuple

import jax

_SHORT = 1e-4  # seconds; shorter calls are batched
_BATCH = 1e-3  # seconds of a batch of short calls
_STABLE = 0.05  # warm when a call is at most this much faster than any before
_WARM_SHARE = 0.25  # of the budget, at most, is spent on warming up
_FEWEST, _ENOUGH, _MOST = 3, 16, 256  # samples
_PRECISE = 0.005  # relative standard error of the median that is enough


class Timing(NamedTuple):
  """Raw samples of one point.

  Attributes:
    seconds: of one call, one value for each timed batch, in order.
    calls: timed calls in all.
  """

  seconds: list[float]
  calls: int


def measure(
    call: Callable[[], Any],
    *,
    budget: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
  """Times a call until its median is known well or the budget is spent.

  Args:
    call: runs once what is timed and returns its arrays. It must have run
      before, for what is done only once is not to be timed.
    budget: seconds for warming up and timing together. At least three calls are
      timed, whatever they take.
    clock: seconds that pass.
  """
  collecting = gc.isenabled()
  gc.disable()
  try:
    end = clock() + budget
    warming = _warm_up(call, budget * _WARM_SHARE, clock)
    expected = min(warming)
    size = math.ceil(_BATCH / max(expected, 1e-9)) if expected < _SHORT else 1
    # A long call is warm because it has run before: it is a sample already.
    seconds = warming if len(warming) == 1 and size == 1 else []
    while len(seconds) < _FEWEST or (clock() < end and not _known(seconds)):
      seconds.append(_batch(call, size, clock) / size)
  finally:
    if collecting:
      gc.enable()
  return Timing(seconds, size * len(seconds))


def once(call: Callable[[], Any]) -> float:
  """Returns the seconds of one call, which has run before."""
  return _batch(call, 1, time.perf_counter)


def _batch(
    call: Callable[[], Any], size: int, clock: Callable[[], float]
) -> float:
  """Seconds of so many calls, one after the other."""
  start = clock()
  for _ in range(size):
    jax.block_until_ready(call())
  return clock() - start


def _warm_up(
    call: Callable[[], Any], budget: float, clock: Callable[[], float]
) -> list[float]:
  """Calls until two in a row gain nothing; returns the seconds of each."""
  end = clock() + budget
  seconds, idle = [_batch(call, 1, clock)], 0
  while idle < 2 and clock() < end:
    last = _batch(call, 1, clock)
    idle = idle + 1 if last > min(seconds) * (1 - _STABLE) else 0
    seconds.append(last)
  return seconds


def _known(seconds: list[float]) -> bool:
  """Whether more samples of this process would hardly move the median.

  The standard error is that of the median of a normal sample, its deviation
  taken from the quartiles so that one interruption does not prolong the run.
  """
  if len(seconds) < _ENOUGH:
    return False
  low, middle, high = statistics.quantiles(seconds, n=4)
  error = 1.2533 * (high - low) / 1.349 / math.sqrt(len(seconds))
  return error <= _PRECISE * middle or len(seconds) >= _MOST
