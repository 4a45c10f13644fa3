"""Several experiments, one after the other, within one budget of seconds.

Each stage is an experiment's own command in a process of its own, told what is
left of the time. A sweep resumes where it was, and so does a suite: what is
recorded is not measured again. A stage that times nothing may be shared by
several processes at once.
"""

import contextlib
import fcntl
import io
import math
import os
import pathlib
import secrets
import signal
import subprocess
import sys
import tarfile
import time
from typing import Callable, Iterator, Mapping, NamedTuple, Sequence

from lalm.launch import child
from lalm.launch import survey

_FINISHING = 25.0  # seconds a sweep has for its tables after its own deadline
_LAST = 5.0  # seconds before the deadline that whatever still runs is ended
_LEAST = 15.0  # seconds of measuring, for which a stage is worth a start
_PERIOD = 0.1  # seconds between two looks at the processes
_SHARED = 0.9  # of an accelerator's memory, for all processes of a stage


class Stage(NamedTuple):
  """An experiment of a suite.

  Attributes:
    experiment: its module's name.
    config: file of its configuration.
    workers: processes that share its points; more than one time nothing.
    fields: `FIELD=VALUE` of the configuration, over those of its file.
  """

  experiment: str
  config: str
  workers: int = 1
  fields: tuple[str, ...] = ()

  @property
  def most(self) -> float:
    """Seconds that it may take, by its own field `budget` if it has one."""
    own = [x.partition("=")[2] for x in self.fields if x.startswith("budget=")]
    return float(own[-1]) if own else math.inf

  @property
  def name(self) -> str:
    """What is said of it: `decode_latency (device_decoding, replicates=2)`."""
    config = pathlib.Path(self.config).stem
    return f"{self.experiment} ({', '.join((config, *self.fields))})"


class Outcome(NamedTuple):
  """What came of a stage: exit status, None if not begun, and seconds."""

  stage: Stage
  status: int | None
  seconds: float

  @property
  def failed(self) -> bool:
    """Whether it has failed, and not only run out of time."""
    return self.status not in (None, 0, 128 + signal.SIGTERM)


def run(
    stages: Sequence[Stage],
    out: pathlib.Path,
    deadline: float,
    say: Callable[[str], None],
    root: pathlib.Path,
    ended: Callable[[], object] = lambda: None,
) -> list[Outcome]:
  """Runs stages in order, as long as there is time.

  Args:
    stages: in the order of their worth.
    out: a folder, in which each experiment has its own.
    deadline: on the monotonic clock; all have ended by then.
    say: told of every stage in a line.
    root: where `python -m experiments.NAME` finds its module.
    ended: called after each stage.
  """
  outcomes = []
  for stage in stages:
    start = time.monotonic()
    left = deadline - start - _FINISHING
    budget = min(left, stage.most)
    if left < _LEAST:
      say(f"{stage.name}: not begun, {max(0, deadline - start):.0f} s are left")
      outcomes.append(Outcome(stage, None, 0.0))
      continue
    say(f"{stage.name}: {budget:.0f} s at most")
    with _processes(stage, out, budget, root) as processes:
      status = _wait(processes, deadline - _LAST)
    seconds = time.monotonic() - start
    say(f"{stage.name}: exit status {status} after {seconds:.0f} s")
    outcomes.append(Outcome(stage, status, seconds))
    ended()
  return outcomes


@contextlib.contextmanager
def _processes(
    stage: Stage, out: pathlib.Path, budget: float, root: pathlib.Path
) -> Iterator[list[subprocess.Popen]]:
  """The processes of a stage, ended as they end a sweep: by SIGTERM.

  They end when this one does, `kill -9` included.
  """
  started: list[subprocess.Popen] = []
  parent = os.getpid()
  try:
    for worker in range(stage.workers):
      command = [
          sys.executable, "-m", f"experiments.{stage.experiment}",
          f"--config={stage.config}",
          *(f"--config.{field}" for field in stage.fields),
          f"--config.budget={budget:.0f}",
          f"--out={out / stage.experiment}",
          f"--worker={worker}/{stage.workers}",
      ]  # fmt: skip
      process = subprocess.Popen(
          command,
          cwd=root,
          env=_environment(stage.workers),
          preexec_fn=lambda: child.tie(parent, signal.SIGTERM),
      )
      started.append(process)
    yield started
  finally:
    _end(started, _LAST)


def _end(processes: Sequence[subprocess.Popen], seconds: float) -> None:
  """Asks processes to end; what has not after so many seconds is killed."""
  running = [process for process in processes if process.poll() is None]
  for process in running:
    process.send_signal(signal.SIGTERM)
  limit = time.monotonic() + seconds
  for process in running:
    try:
      process.wait(max(0.0, limit - time.monotonic()))
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()


@contextlib.contextmanager
def alone(out: pathlib.Path) -> Iterator[None]:
  """Within it no other suite runs in a folder; the lock leaves no file behind.

  Two would time each other's work.

  Args:
    out: the folder, which is there.

  Raises:
    SweepError: another suite runs in it.
  """
  descriptor = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
  try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    os.close(descriptor)
    raise survey.SweepError(f"another suite runs in {out}") from None
  except OSError:
    pass  # some network file systems lock no folders
  try:
    yield
  finally:
    os.close(descriptor)


def _environment(workers: int) -> Mapping[str, str]:
  """Ours; of several processes each takes its share of an accelerator."""
  if workers == 1:
    return os.environ
  return {
      **os.environ,
      "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
      "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{_SHARED / workers:.3f}",
  }


def _wait(processes: Sequence[subprocess.Popen], deadline: float) -> int:
  """The worst exit status; that of SIGTERM where some had to be ended."""
  ended = 128 + signal.SIGTERM
  while any(process.poll() is None for process in processes):
    if time.monotonic() >= deadline:
      break
    time.sleep(_PERIOD)
  codes = [process.poll() for process in processes]
  statuses = [ended if code is None else _status(code) for code in codes]
  return max(statuses, key=lambda status: (status not in (0, ended), status))


def _status(code: int) -> int:
  """An exit status as a shell has it: 128 + n after signal n."""
  return code if code >= 0 else 128 - code


def archive(out: pathlib.Path, path: pathlib.Path, names: set[str]) -> int:
  """Packs experiments' folders into one tar; returns how many files.

  Caches are left out. The file appears whole or not at all.

  Args:
    out: the folder that has them.
    path: of the archive, compressed with gzip.
    names: of the experiments.
  """
  files = sorted(
      file
      for name in names
      for file in (out / name).rglob("*")
      if file.is_file() and ".cache" not in file.relative_to(out).parts
  )
  content = io.BytesIO()
  with tarfile.open(fileobj=content, mode="w:gz") as packed:
    for file in files:
      with contextlib.suppress(FileNotFoundError):  # a process tidies up
        packed.add(file, arcname=str(file.relative_to(out)))
  path.parent.mkdir(parents=True, exist_ok=True)
  partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
  try:
    partial.write_bytes(content.getvalue())
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)
  return len(files)
