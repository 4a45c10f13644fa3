"""SIGINT, SIGTERM and SIGHUP end a sweep at once, but never inside a write."""

import contextlib
import signal
import threading
from types import FrameType
from typing import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
  """A signal came; not an Exception, so that nothing swallows it.

  Attributes:
    number: which signal.
  """

  def __init__(self, number: int) -> None:
    self.number = number
    super().__init__(signal.Signals(number).name)


class _State:
  """Whether signals must wait, the one that does, and whether one was heard."""

  shielded = False
  pending: int | None = None
  heard = False


def _handle(number: int, frame: FrameType | None) -> None:
  del frame
  if _State.shielded:
    _State.pending = number
  elif not _State.heard:
    # Only the first is heard: what unwinds is ending the children.
    _State.heard = True
    raise Interrupted(number)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
  """Within it a signal raises `Interrupted`.

  A signal that is ignored on entry (SIGHUP under nohup) stays ignored. Once one
  was heard the command is on its way out and the rest of its life hears no
  more: an impatient second one must not change the exit status. Python hears
  signals in its main thread only; in another nothing changes.
  """
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {number: signal.getsignal(number) for number in _SIGNALS}
  for number, handler in before.items():
    if handler is not signal.SIG_IGN:
      signal.signal(number, _handle)
  _State.shielded, _State.pending, _State.heard = False, None, False
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, signal.SIG_IGN if _State.heard else handler)


@contextlib.contextmanager
def shielded() -> Iterator[None]:
  """Within it a signal waits; it raises `Interrupted` on the way out."""
  _State.shielded = True
  try:
    yield
  finally:
    _State.shielded = False
  if _State.pending is not None:
    number, _State.pending = _State.pending, None
    _handle(number, None)
