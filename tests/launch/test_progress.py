"""Progress is one line of a terminal, or a line now and then in a log."""

import io

from lalm.launch import progress

_STATES = [
    progress.Progress(1, 30, 125.4, "a"),
    progress.Progress(2, 30, 59.6, "b"),
]


class _Terminal(io.StringIO):

  def isatty(self):
    return True


def test_a_terminal_has_one_line_that_is_overwritten_and_then_ended():
  stream = _Terminal()
  with progress.Line(stream) as line:
    for state in _STATES:
      line.show(state)
    assert stream.getvalue().count("\n") == 0
  first, second = stream.getvalue().rstrip("\n").split("\r")[1:]
  assert first.startswith("1/30, 2:05 left, a")
  assert second.startswith("2/30, 1:00 left, b")
  assert stream.getvalue().endswith("\n")


def test_a_terminal_on_which_nothing_was_shown_stays_as_it_was():
  stream = _Terminal()
  with progress.Line(stream):
    pass
  assert stream.getvalue() == ""


def test_a_log_has_a_line_now_and_then():
  stream, seconds = io.StringIO(), [0.0]
  with progress.Line(stream, lambda: seconds[0]) as line:
    for second in range(0, 100, 7):
      seconds[0] = second
      line.show(_STATES[0])
  assert stream.getvalue() == "1/30, 2:05 left, a\n" * 2
