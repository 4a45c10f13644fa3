"""The worker's conversation with its parent, on targets without JAX."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import pytest

from lalm.measure import worker

_TARGET = """
import os, sys
class Target:
  def plan(self, point, settings):
    print("plan prints this")
    if point["length"] < 0:
      raise ValueError("length: expected > 0\\nsecond line")
    return {"key": "k%d" % point["length"], "seconds": 0.5}
  def environment(self):
    os.system("echo a child prints this")
    return {"machine": "m" * 12, "ceilings": {"products_per_second": 1.0}}
  def measure(self, point, replicate, settings):
    length = point["length"]
    if length == 1: raise MemoryError()
    if length == 2: raise RuntimeError("INTERNAL: YNNPACK operation failed")
    if length == 3: raise FloatingPointError("invalid value (nan)")
    if length == 4: raise KeyError("lost")
    if length == 5: return {"seconds": [float("nan")]}
    if length == 7: raise RuntimeError("INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS")
    if length == 6: import time; time.sleep(30)
    return {"status": "ok", "jax": "jax" in sys.modules, "r": replicate}
TARGET = Target()
"""


@pytest.fixture(name="start")
def _start(tmp_path):
  (tmp_path / "stub_target.py").write_text(_TARGET)
  root = pathlib.Path(__file__).resolve().parents[2]
  path = os.pathsep.join([str(tmp_path), str(root)])
  started = []

  def start(target="stub_target:TARGET", prefix=()):
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "lalm.measure.worker", target],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    started.append(process)
    return process

  yield start
  for process in started:
    process.kill()
    process.wait()


def _job(task, lengths):
  points = [{"length": length} for length in lengths]
  job = {"task": task, "replicate": 3, "points": points, "settings": {}}
  return json.dumps(job) + "\n"


def _answers(process, job):
  out, error = process.communicate(job, timeout=60)
  return [json.loads(line) for line in out.splitlines()], error


def test_a_plan_answers_every_point_and_prints_go_to_standard_error(start):
  process = start()
  events, error = _answers(process, _job("plan", [7, -1, 8]))
  assert [e["event"] for e in events] == ["planned", "failed", "planned", "end"]
  assert [e.get("index") for e in events] == [0, 1, 2, None]
  assert events[0]["key"] == "k7"
  assert events[1]["status"] == "refused"
  assert events[1]["reason"] == "ValueError: length: expected > 0"
  assert "plan prints this" in error
  assert process.returncode == 0


def test_a_failing_point_becomes_a_record_and_the_next_one_is_measured(start):
  events, error = _answers(start(), _job("measure", [1, 2, 3, 4, 5, 9]))
  assert events[0]["event"] == "ready"
  assert events[0]["machine"] == "m" * 12
  assert events[0]["ceilings"] == {"products_per_second": 1.0}
  assert events[0]["environment"]["machine"] == "m" * 12
  assert "a child prints this" in error
  assert events[-1] == {"event": "end"}
  pairs = events[1:-1]
  assert [e["event"] for e in pairs] == ["started", "finished"] * 6
  assert [e["index"] for e in pairs] == [i for i in range(6) for _ in "ab"]
  records = [e["record"] for e in pairs[1::2]]
  assert [r["status"] for r in records] == [
      "out_of_memory",
      "out_of_memory",
      "not_finite",
      "crashed",
      "crashed",
      "ok",
  ]
  assert records[3]["point"] == {"length": 4}
  assert records[3]["replicate"] == 3
  assert "lost" in records[3]["reason"]
  assert records[5] == {"status": "ok", "jax": False, "r": 3}


def test_a_point_that_spoils_the_device_is_a_workers_last(start):
  events, _ = _answers(start(), _job("measure", [9, 7, 9]))
  assert [e["event"] for e in events[1:]] == [
      "started", "finished", "started", "finished", "end",
  ]  # fmt: skip
  assert events[-2]["record"]["status"] == "crashed"
  assert "ILLEGAL_ADDRESS" in events[-2]["record"]["reason"]


@pytest.mark.parametrize(
    ("error", "lasts"),
    [
        (
            jax.errors.JaxRuntimeError("INTERNAL: CUDA_ERROR_LAUNCH_FAILED"),
            True,
        ),
        (jax.errors.JaxRuntimeError("INTERNAL: no such kernel"), True),
        (jax.errors.JaxRuntimeError("INVALID_ARGUMENT: shapes"), False),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9 GiB"), False),
        (RuntimeError("CUDA error: an illegal memory access"), True),
        (RuntimeError("CUDA error: out of memory"), False),
        (ValueError("internal: no runtime's"), False),
    ],
)
def test_errors_of_runtimes_last_unless_they_are_of_what_was_asked(
    error, lasts
):
  assert worker.lasting(error) == lasts


@pytest.mark.parametrize(
    "job", ["", "\n", "{", "[]\n", '{"task": "sing", "points": []}\n']
)
def test_no_job_or_a_malformed_one_ends_the_worker_without_traceback(
    start, job
):
  process = start()
  events, error = _answers(process, job)
  assert events == []
  assert "Traceback" not in error
  assert process.returncode == 2


@pytest.mark.parametrize("name", ["stub_target", "absent:TARGET", "os:absent"])
def test_a_target_that_cannot_be_loaded_is_one_line(start, name):
  process = start(name)
  _, error = _answers(process, _job("plan", [1]))
  assert error.count("\n") == 1 and "target" in error and name in error
  assert process.returncode == 2


_MIDDLE = """
import subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, text=True)
child.stdin.write(sys.stdin.readline())
child.stdin.flush()
child.wait()
"""


def test_the_worker_goes_when_its_parent_is_killed(start):
  process = start(prefix=(sys.executable, "-c", _MIDDLE))
  process.stdin.write(_job("measure", [6]))
  process.stdin.flush()
  while json.loads(process.stdout.readline())["event"] != "started":
    pass
  process.kill()
  process.wait()
  # The pipe ends when every holder of it, the worker included, is gone; one
  # that had lived on would have finished its point and said so.
  assert process.stdout.read() == ""


def test_interrupt_ends_the_worker_without_traceback(start):
  process = start()
  process.stdin.write(_job("measure", [6]))
  process.stdin.flush()
  while json.loads(process.stdout.readline())["event"] != "started":
    pass
  process.send_signal(signal.SIGINT)
  _, error = process.communicate(timeout=10)
  assert process.returncode == -signal.SIGINT
  assert "Traceback" not in error


def test_the_reason_is_one_line_and_names_no_home_folder(monkeypatch):
  monkeypatch.setenv("HOME", "/home/somebody")
  reason = worker.reason_of(OSError("/home/somebody/text.txt: gone\nmore"))
  assert reason == "OSError: ~/text.txt: gone"
  assert len(worker.reason_of(ValueError("x" * 10_000))) <= 300
