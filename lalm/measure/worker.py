"""A process that plans or measures the points it is told, one after another.

`python -m lalm.measure.worker package.module:ATTRIBUTE` reads one job, a line
of JSON, from its standard input and answers with lines of JSON on its standard
output. The attribute is any object with

  plan(point, settings) -> dict                what `measure` would cost
  measure(point, replicate, settings) -> dict  the fields of a finished record
  environment() -> dict                        called before the first measure

and where it has an attribute `tell`, that is set to what takes a line for the
user of a long measurement,

so that a test may measure without JAX, which this module never imports. A job:

  {"task": "plan" | "measure", "replicate": r, "points": [...],
   "settings": {...}}

The answers, in the order of the points, "end" last in both tasks:

  plan     {"event": "planned", "index": i, **plan(...)}
           {"event": "failed", "index": i, "status": ..., "reason": ...}
  measure  {"event": "ready", "machine": ..., "ceilings": ...,
            "environment": the whole of environment()}
           {"event": "started", "index": i}
           {"event": "told", "text": ...}, any number of times
           {"event": "finished", "index": i, "record": {...}}
  both     {"event": "end"}

An exception costs its own point only: the record then holds status, reason,
point and replicate. Where it may have left the device of no use to this
process, that record is the last one: what is left is for another process.
Whatever else is printed goes to standard error. The process exits when standard
input ends before a job, and when its parent is gone; standard input may be
closed or left open once the job is written.
"""

import importlib
import json
import os
import pathlib
import signal
import sys
import threading
import time
from typing import Any, Mapping, Sequence

_USAGE = "usage: python -m lalm.measure.worker package.module:ATTRIBUTE"
_PARENT_PERIOD = 0.5  # seconds between two looks at the parent's id
_REASON_LENGTH = 300  # characters
_MEMORY_TEXTS = (
    "resource_exhausted",
    "out of memory",
    "out-of-memory",
    "ynnpack operation failed",
    "bad_alloc",
    "cannot allocate memory",
    "unable to allocate",
)
# Of runtimes' errors that every later call of a process meets again.
_LASTING_TEXTS = ("internal:", "cuda_error", "cuda error", "hip error")
_FINITE_TEXTS = ("invalid value (nan", "invalid value (inf", "not finite")


def load(name: str) -> Any:
  """Imports `package.module:ATTRIBUTE`; ValueError where that is no target."""
  module_name, _, attribute = name.partition(":")
  if not module_name or not attribute:
    raise ValueError(f"target: expected package.module:ATTRIBUTE, got {name!r}")
  try:
    return getattr(importlib.import_module(module_name), attribute)
  except (ImportError, AttributeError) as error:
    raise ValueError(f"target: cannot load {name!r}: {error}") from error


def status_of(error: BaseException) -> str:
  """The status of a point that ended in this exception."""
  text = f"{type(error).__name__}: {error}".lower()
  if isinstance(error, MemoryError) or any(t in text for t in _MEMORY_TEXTS):
    return "out_of_memory"
  nan = isinstance(error, FloatingPointError)
  if nan or any(t in text for t in _FINITE_TEXTS):
    return "not_finite"
  return "crashed"


def lasting(error: BaseException) -> bool:
  """Whether an error may stay with the device for as long as the process.

  After a wrong address CUDA answers whatever it is asked with the same error.
  """
  if not isinstance(error, RuntimeError) or status_of(error) != "crashed":
    return False
  return any(text in str(error).lower() for text in _LASTING_TEXTS)


def reason_of(error: BaseException) -> str:
  """One line that says what happened, without the user's home folder."""
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  text = (
      f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
  )
  home = str(pathlib.Path.home())
  if len(home) > 1:
    text = text.replace(home, "~")
  return text[:_REASON_LENGTH]


class Channel:
  """The line of events to the parent, on what was standard output.

  Making one points file descriptor 1 to standard error, native code's prints
  included, so that nothing but events can reach the parent.
  """

  def __init__(self) -> None:
    sys.stdout.flush()
    self._descriptor = os.dup(1)
    os.set_inheritable(self._descriptor, False)
    os.dup2(2, 1)

  def send(self, event: Mapping[str, Any]) -> None:
    """Writes one event; ValueError or TypeError where it is not JSON."""
    line = json.dumps(event, allow_nan=False) + "\n"
    data = memoryview(line.encode())
    while data:
      data = data[os.write(self._descriptor, data) :]


def _follow_parent(parent: int) -> None:
  """Ends this process when its parent has changed, which means: has died."""
  while os.getppid() == parent:
    time.sleep(_PARENT_PERIOD)
  os._exit(1)


def _read_job(line: str) -> dict[str, Any]:
  """Parses a job; ValueError with what was expected and what came."""
  try:
    job = json.loads(line)
  except json.JSONDecodeError as error:
    raise ValueError(f"job: expected a line of JSON, got {line!r}") from error
  if not isinstance(job, dict) or job.get("task") not in ("plan", "measure"):
    raise ValueError(f'job: expected task "plan" or "measure", got {line!r}')
  if not isinstance(job.get("points"), list):
    raise ValueError(f"job: expected a list of points, got {line!r}")
  return job


def _failure(error: Exception) -> dict[str, str]:
  return {"status": status_of(error), "reason": reason_of(error)}


def _plan(target: Any, job: Mapping[str, Any], channel: Channel) -> None:
  settings = job.get("settings", {})
  for index, point in enumerate(job["points"]):
    try:
      plan = target.plan(point, settings)
      channel.send({"event": "planned", "index": index, **plan})
    except BrokenPipeError:
      raise
    except Exception as error:  # a point's failure is an answer, not an end
      failure = _failure(error)
      if isinstance(error, ValueError):  # of what was asked for
        failure["status"] = "refused"
      channel.send({"event": "failed", "index": index, **failure})


def _measure(target: Any, job: Mapping[str, Any], channel: Channel) -> None:
  settings, replicate = job.get("settings", {}), job.get("replicate", 0)
  environment = target.environment()
  ready = {name: environment.get(name) for name in ("machine", "ceilings")}
  channel.send({"event": "ready", **ready, "environment": environment})
  if hasattr(target, "tell"):
    target.tell = lambda text: channel.send({"event": "told", "text": text})
  for index, point in enumerate(job["points"]):
    channel.send({"event": "started", "index": index})
    identity = {"point": point, "replicate": replicate}
    spoilt = False
    try:
      record = target.measure(point, replicate, settings)
      json.dumps(record, allow_nan=False)
    except Exception as error:  # a point's failure is an answer, not an end
      record = {**identity, **_failure(error)}
      spoilt = lasting(error)
    channel.send({"event": "finished", "index": index, "record": record})
    if spoilt:
      return


def _prefer_as_victim() -> None:
  """Asks Linux to end this process first, not its parent, if memory is out."""
  try:
    pathlib.Path("/proc/self/oom_score_adj").write_text("1000")
  except OSError:
    pass  # not Linux, or not allowed: nothing depends on it


def main(arguments: Sequence[str]) -> int:
  """Runs one job; returns the exit status (2: no job or no target)."""
  parent = os.getppid()
  if len(arguments) != 1:
    print(_USAGE, file=sys.stderr)
    return 2
  signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends without a traceback
  _prefer_as_victim()
  channel = Channel()
  watch = threading.Thread(target=_follow_parent, args=(parent,), daemon=True)
  watch.start()
  line = sys.stdin.readline()
  if not line.strip():
    return 2
  try:
    job = _read_job(line)
    target = load(arguments[0])
  except ValueError as error:
    print(reason_of(error), file=sys.stderr)
    return 2
  try:
    (_plan if job["task"] == "plan" else _measure)(target, job, channel)
    channel.send({"event": "end"})
  except BrokenPipeError:
    return 1  # nobody listens any more
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
