"""How far a sweep is, and when it will end."""

from collections.abc import Callable
import time
from typing import NamedTuple


class Progress(NamedTuple):
  """How far a sweep is.

  Attributes:
    done: visits to a point that are over, in this run.
    total: visits in all, as far as can be seen; `done` in the last report.
    seconds_left: until the end, predicted.
    point: the one visited last, or what is told of one, in a few words.
  """

  done: int
  total: int
  seconds_left: float
  point: str


class Foresight:
  """Counts visits against those foreseen, and tells of each.

  Args:
    tell: shows how far the sweep is.
  """

  def __init__(self, tell: Callable[[Progress], None]) -> None:
    self._tell = tell
    self._done = self._total = 0
    self._end = time.monotonic()
    self._shown: Progress | None = None

  def expect(self, visits: int) -> None:
    """Foresees so many visits more."""
    self._total = self._done + visits

  def ends_in(self, seconds: float) -> None:
    """Foresees the end."""
    self._end = time.monotonic() + seconds

  def hear(self, words: str) -> None:
    """Tells of the visit that goes on."""
    self._tell(self._progress(words, self._done + 1))

  def visited(self, words: str) -> None:
    """Tells of a visit that is over."""
    self._done += 1
    self._shown = self._progress(words, self._done)
    self._tell(self._shown)

  def over(self) -> None:
    """Tells of the end, where fewer were visited than foreseen."""
    last = self._shown
    if last is not None and last.done < last.total:
      self._tell(last._replace(total=last.done, seconds_left=0.0))

  def _progress(self, words: str, least: int) -> Progress:
    left = max(0.0, self._end - time.monotonic())
    return Progress(self._done, max(self._total, least), left, words)
