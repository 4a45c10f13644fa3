"""A sweep's progress in one line: points done, elapsed, time left."""

import os
import sys
import time
from typing import Callable, Protocol, TextIO

from lalm import units

_WIDTH = 79  # characters of a terminal that does not tell
_TERMINAL, _FILE = 0.1, 15.0  # seconds between two lines


class Step(Protocol):
  """How far a sweep is: visits over and in all, seconds left, the last point.

  `lalm.launch.foresight.Progress` is one.
  """

  @property
  def done(self) -> int:
    """Visits that are over."""

  @property
  def total(self) -> int:
    """Visits in all."""

  @property
  def seconds_left(self) -> float:
    """Until the end, predicted."""

  @property
  def point(self) -> str:
    """What was visited last."""


class Line:
  """Shows each step: a terminal's line is rewritten, a file gets one at times.

  Called with a step. The first and the last are always shown; output that
  cannot be written is dropped, a sweep never ends for it.

  Args:
    stream: where to write; standard error unless given.
    clock: seconds, monotonic.
  """

  def __init__(
      self,
      stream: TextIO | None = None,
      clock: Callable[[], float] = time.monotonic,
  ) -> None:
    self._stream = sys.stderr if stream is None else stream
    self._clock = clock
    self._begun = clock()
    self._shown = -float("inf")

  def __call__(self, step: Step) -> None:
    """Shows the step, unless another was shown a moment ago."""
    now, last = self._clock(), step.done >= step.total
    try:
      terminal = self._stream.isatty()
      if not last and now - self._shown < (_TERMINAL if terminal else _FILE):
        return
      self._shown = now
      words = line(step, now - self._begun)
      width = _columns(self._stream) if terminal else len(words)
      words = words[:width]
      end = "\n" if last or not terminal else ""
      start = f"\r{words:{width}}" if terminal else words
      self._stream.write(start + end)
      self._stream.flush()
    except (OSError, ValueError):  # the reader is gone, or the stream closed
      pass


def line(step: Step, elapsed: float) -> str:
  """`[ 12/180]  0:42 elapsed, 2:10 left  softmax.parallel ...`."""
  count = f"[{step.done:{len(str(step.total))}}/{step.total}]"
  passed, left = units.clock(elapsed), units.clock(step.seconds_left)
  times = f"{passed} elapsed, {left} left"
  return f"{count}  {times}  {step.point}"


def _columns(stream: TextIO) -> int:
  """Characters of a terminal's line, but for the last."""
  try:
    return os.get_terminal_size(stream.fileno()).columns - 1 or _WIDTH
  except (OSError, ValueError, AttributeError):  # a stand-in for a terminal
    return _WIDTH
