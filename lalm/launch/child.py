"""One worker process, and the conversation with it in lines of JSON.

The process leads a session of its own, so that a Ctrl-C meant for the sweep
does not reach it and so that it can be ended with everything it has started.
It goes when its parent goes, `kill -9` included.
"""

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import Any, Mapping, Sequence

# Transparent huge pages for large buffers: without them the page faults of
# fresh buffers, not the arithmetic, decide the time of a large kernel.
_HUGE_PAGES = "glibc.malloc.hugetlb=1"
_PR_SET_PDEATHSIG = 1
_PERIOD = 0.2  # seconds between two looks whether the process still lives
_READ = 1 << 16  # bytes
_LONGEST_LINE = 1 << 26  # bytes; an event is never that long
_KEPT = 1 << 14  # bytes of standard error
_LIBRARY = ctypes.CDLL(None) if sys.platform == "linux" else None

Event = dict[str, Any]


class Hung(Exception):
  """A worker did not answer in time."""


def environment() -> dict[str, str]:
  """The environment a measuring process gets: ours, with huge pages on."""
  variables = dict(os.environ)
  tunables = variables.get("GLIBC_TUNABLES", "")
  if "glibc.malloc.hugetlb" not in tunables:
    variables["GLIBC_TUNABLES"] = ":".join(
        filter(None, [tunables, _HUGE_PAGES])
    )
  return variables


def tie(parent: int, number: int = signal.SIGKILL) -> None:
  """Runs in the new process, before its program: ties it to its parent.

  Args:
    parent: the process with which it ends.
    number: the signal that ends it.
  """
  if _LIBRARY is not None:
    _LIBRARY.prctl(_PR_SET_PDEATHSIG, number)
  if os.getppid() != parent:
    os._exit(1)  # the parent died before the tie was made


class Child:
  """A process that runs `python -m ARGUMENTS` and answers in events.

  A context: leaving it ends the process, its children included.

  Attributes:
    returncode: exit status once it has ended, negative for a signal.
    stopped: whether this side has ended it.
  """

  def __init__(self, arguments: Sequence[str]) -> None:
    self.returncode: int | None = None
    self.stopped = False
    self._lines: list[bytes] = []
    self._partial = b""
    self._errors = b""
    parent = os.getpid()
    self._process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
        preexec_fn=lambda: tie(parent),
    )
    pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
    self._pipes = [pipe for pipe in pipes if pipe is not None]
    self._selector = selectors.DefaultSelector()
    for pipe, name in zip(self._pipes[1:], ("stdout", "stderr")):
      os.set_blocking(pipe.fileno(), False)
      self._selector.register(pipe, selectors.EVENT_READ, name)

  def __enter__(self) -> "Child":
    return self

  def __exit__(self, *_: object) -> None:
    self.stop()

  def send(self, job: Mapping[str, Any]) -> None:
    """Writes a job. A process that has gone already is noticed by `read`."""
    data = (json.dumps(job) + "\n").encode()
    try:
      self._pipes[0].write(data)
      self._pipes[0].close()
    except BrokenPipeError:
      pass

  def read(self, seconds: float) -> Event | None:
    """The next event; None once the process has ended.

    Lines that are no events are passed over.

    Raises:
      Hung: nothing came within so many seconds.
    """
    limit = time.monotonic() + seconds
    while True:
      while self._lines:
        event = _event(self._lines.pop(0))
        if event is not None:
          return event
      if self.returncode is not None:
        return None
      left = limit - time.monotonic()
      if left <= 0:
        raise Hung(f"no answer within {seconds:.0f} s")
      if not self._receive(min(left, _PERIOD)):
        self._end()

  def forget_errors(self) -> None:
    """Drops what came on standard error, unless later events came already."""
    if not self._lines and not self._partial:
      self._errors = b""

  def errors(self) -> list[str]:
    """The last lines of standard error, white space and empty ones dropped."""
    text = self._errors.decode(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]

  def stop(self) -> None:
    """Ends the process and all it has started; returns when it is gone."""
    if self.returncode is None:
      self.stopped = True
      self._end()

  def _receive(self, seconds: float) -> bool:
    """Takes in what comes within the time; False once nothing can come."""
    # Looked at first: what an ended process has written is all there to read.
    ended = self._process.poll() is not None
    if not self._selector.get_map():
      return not ended and self._wait(seconds)
    ready = self._selector.select(0 if ended else seconds)
    # Errors first: an event that precedes what is read of them is read too.
    for key, _ in sorted(ready, key=lambda item: item[0].data):
      data = os.read(key.fd, _READ)
      if not data:
        self._selector.unregister(key.fileobj)
      elif key.data == "stderr":
        self._errors = (self._errors + data)[-_KEPT:]
      else:
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[:_LONGEST_LINE]
        self._lines += lines
    return bool(ready) or not ended

  def _wait(self, seconds: float) -> bool:
    """Waits for a process that has closed its pipes; True while it lives."""
    try:
      self._process.wait(seconds)
    except subprocess.TimeoutExpired:
      return True
    return False

  def _end(self) -> None:
    try:
      os.killpg(self._process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
      pass  # nobody is left in its group
    self.returncode = self._process.wait()
    self._selector.close()
    for pipe in self._pipes:
      try:
        pipe.close()
      except OSError:
        pass  # an unsent job: nobody will read it


def _event(line: bytes) -> Event | None:
  """The event of a line, or None where the line is something else."""
  try:
    event = json.loads(line)
  except (ValueError, RecursionError):
    return None
  return event if isinstance(event, dict) and "event" in event else None
