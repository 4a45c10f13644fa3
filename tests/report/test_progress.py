"""Progress is one rewritten line on a terminal, few lines in a file."""

import io
from typing import NamedTuple

from lalm.report import progress


class Step(NamedTuple):
  """As the supervisor tells it."""

  done: int
  total: int
  seconds_left: float
  point: str = "softmax.parallel forward n=4096"


class Terminal(io.StringIO):
  """A stream that says it is a terminal."""

  def isatty(self) -> bool:
    """It is one."""
    return True


class Clock:
  """Tells the time it was given."""

  now = 0.0

  def __call__(self) -> float:
    """The time."""
    return self.now


def told(stream: io.StringIO, total: int, pause: float) -> str:
  """What a sweep of `total` steps with a pause before each writes."""
  clock = Clock()
  line = progress.Line(stream, clock)
  for done in range(1, total + 1):
    clock.now += pause
    line(Step(done, total, (total - done) * pause))
  return stream.getvalue()


def test_a_terminal_has_one_line_that_is_written_over():
  text = told(Terminal(), 180, 1.0)
  assert text.count("\n") == 1 and text.endswith("\n")
  shown = text[:-1].split("\r")[1:]
  assert len(shown) == 180
  assert {len(words) for words in shown} == {79}  # nothing older shows through
  assert shown[11].startswith("[ 12/180]  0:12 elapsed, 2:48 left  softmax")


def test_a_file_gets_a_line_at_times_the_first_and_the_last_always():
  lines = told(io.StringIO(), 180, 1.0).splitlines()
  assert lines[0].startswith("[  1/180]") and lines[-1].startswith("[180/180]")
  assert 10 <= len(lines) <= 14


def test_a_quick_sweep_does_not_flood_a_terminal():
  assert told(Terminal(), 1000, 0.001).count("\r") <= 12


def test_a_closed_stream_ends_no_sweep():
  stream = io.StringIO()
  stream.close()
  progress.Line(stream)(Step(1, 2, 1.0))
