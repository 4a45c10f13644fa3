"""How far a sweep is, on one line of a terminal.

Where there is no terminal (a log, a batch job) a line is printed now and then.
"""

import time
from typing import Callable, NamedTuple, TextIO

_PERIOD = 30.0  # seconds between two lines of a log
_CLEAR = "\x1b[K"  # to the end of the line


class Progress(NamedTuple):
  """How far a sweep is.

  Attributes:
    done: visits to a point that are over, in this run.
    total: visits in all, as far as can be seen.
    seconds_left: until the end, predicted.
    point: the one visited last, in a few words.
  """

  done: int
  total: int
  seconds_left: float
  point: str

  def __str__(self) -> str:
    minutes, seconds = divmod(round(self.seconds_left), 60)
    left = f"{minutes}:{seconds:02} left"
    return f"{self.done}/{self.total}, {left}, {self.point}"


class Line:
  """Shows progress on a stream; a context that leaves the cursor on a new line.

  Args:
    stream: where to; a terminal's line is overwritten.
    clock: seconds that pass.
  """

  def __init__(
      self, stream: TextIO, clock: Callable[[], float] = time.monotonic
  ) -> None:
    self._stream = stream
    self._clock = clock
    self._last = clock()
    self._open = False

  def __enter__(self) -> "Line":
    return self

  def __exit__(self, *_: object) -> None:
    if self._open:
      self._stream.write("\n")
      self._stream.flush()
      self._open = False

  def show(self, progress: Progress) -> None:
    """Shows how far a sweep is, in a log only if it is time to."""
    if self._stream.isatty():
      self._stream.write(f"\r{progress}{_CLEAR}")
      self._open = True
    elif self._clock() - self._last >= _PERIOD:
      self._stream.write(f"{progress}\n")
      self._last = self._clock()
    self._stream.flush()
