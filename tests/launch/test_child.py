"""A worker process: what it says is heard, what it starts goes with it."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from lalm.launch import child

_TALKS = """
import json, sys
job = json.loads(sys.stdin.readline())
for n in range(job["count"]):
  print(json.dumps({"event": "said", "n": n, "pad": "x" * job["pad"]}))
  print("words", n, file=sys.stderr)
"""


@pytest.fixture(name="module")
def _module(tmp_path, monkeypatch):
  """Writes a module and returns its name."""
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))

  def write(text, name="talks"):
    (tmp_path / f"{name}.py").write_text(text)
    return name

  return write


def _all(process, seconds=30.0):
  events = []
  while (event := process.read(seconds)) is not None:
    events.append(event)
  return events


@pytest.mark.parametrize("pad", [0, 100_000])
def test_every_event_is_heard_in_order_also_those_before_the_end(module, pad):
  with child.Child([module(_TALKS)]) as process:
    process.send({"count": 50, "pad": pad})
    assert [event["n"] for event in _all(process)] == list(range(50))
  assert process.returncode == 0 and not process.stopped
  assert process.errors()[-1] == "words 49"


def test_lines_that_are_no_events_are_passed_over(module):
  text = """
import os
os.write(1, b'\\xff\\xfe\\n[1]\\n{"a": 1}\\n"x"\\n\\n' + b"[" * 5000 + b"\\n")
os.write(1, b'{"event": "whole"}\\n{"event": "half')
"""
  with child.Child([module(text)]) as process:
    process.send({})
    assert _all(process) == [{"event": "whole"}]


def test_a_process_that_says_nothing_is_hung(module):
  with child.Child([module("import time; time.sleep(3600)")]) as process:
    process.send({})
    with pytest.raises(child.Hung, match="no answer within"):
      process.read(0.3)
  assert process.returncode == -signal.SIGKILL and process.stopped


def test_a_process_that_closes_its_pipes_and_stays_is_hung(module):
  text = "import os, time; os.closerange(0, 3); time.sleep(3600)"
  with child.Child([module(text)]) as process:
    before = time.process_time()
    with pytest.raises(child.Hung):
      process.read(1.0)
    # Waiting does no work of its own: it would disturb what is timed.
    assert time.process_time() - before < 0.5


def test_the_end_is_heard_though_a_grandchild_holds_the_pipes(module):
  text = """
import os, sys, time
if os.fork() == 0:
  time.sleep(3600)
print('{"event": "mine", "pid": %d}' % os.getpid(), flush=True)
os._exit(5)
"""
  with child.Child([module(text)]) as process:
    process.send({})
    assert [event["event"] for event in _all(process)] == ["mine"]
  assert process.returncode == 5


def test_a_job_for_a_process_that_has_gone_is_no_error(module):
  with child.Child([module("import os; os._exit(3)")]) as process:
    time.sleep(0.3)
    process.send({"pad": "x" * 1_000_000})
    assert process.read(30.0) is None
  assert process.returncode == 3


def test_signals_for_the_sweeps_group_do_not_reach_a_worker(module):
  with child.Child([module("import time; time.sleep(3600)")]) as process:
    pid = process._process.pid
    assert os.getpgid(pid) == pid != os.getpgid(0)
    assert os.getsid(pid) == pid


_PARENT = """
import sys
from lalm.launch import child
process = child.Child(["talks"])
process.send({})
event = process.read(30.0)
print(event["pid"], flush=True)
process.read(3600.0)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux promise")
def test_a_worker_goes_with_its_parent_even_by_kill_9(module, tmp_path):
  module("""
import os, time
print('{"event": "mine", "pid": %d}' % os.getpid(), flush=True)
time.sleep(3600)
""")
  root = pathlib.Path(__file__).resolve().parents[2]
  path = os.pathsep.join([str(tmp_path), str(root)])
  parent = subprocess.Popen(
      [sys.executable, "-c", _PARENT],
      stdout=subprocess.PIPE,
      env={**os.environ, "PYTHONPATH": path},
  )
  pid = int(parent.stdout.readline())
  parent.kill()
  parent.communicate()
  limit = time.monotonic() + 30
  while _runs(pid) and time.monotonic() < limit:
    time.sleep(0.01)
  assert not _runs(pid)


def _runs(pid):
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
  except OSError:
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"
