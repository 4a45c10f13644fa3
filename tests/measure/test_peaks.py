"""Memory where a device's high-water mark cannot be reset."""

import json
import pathlib
import subprocess
import sys

import pytest

from lalm.measure import ceilings
from lalm.measure import memory
from lalm.measure import peak_memory
from lalm.measure import points
from lalm.measure import steps
from lalm.measure import worker

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_POINT = {
    "mechanism": "softmax",
    "form": "parallel",
    "pass": "forward",
    "length": 1024,
    "batch": 1,
    "heads": 8,
    "width": 16,
    "value_width": 16,
    "dtype": "float32",
    "causal": False,
    "chunk": None,
    "corpus": "normal",
    "seed": 0,
}


def _asked(*points):
  """What a process of its own answers."""
  job = {"task": "measure", "points": points, "settings": {"cache": None}}
  done = subprocess.run(
      # A process starts with the mark of the one that was replaced by it: a
      # shell in between keeps the mark of these tests away.
      ["sh", "-c", '"$@"; exit', "sh", sys.executable, "-m", worker.__name__]
      + ["tests.measure.unresettable:PEAK"],
      input=json.dumps(job) + "\n",
      stdout=subprocess.PIPE,
      cwd=_ROOT,
      text=True,
      check=True,
  )
  events = [json.loads(line) for line in done.stdout.splitlines()]
  return [e["record"] for e in events if e["event"] == "finished"]


def test_a_fresh_process_measures_the_peak_of_one_point():
  first, second = _asked(_POINT, {**_POINT, "length": 2048})
  assert first["method"] == second["method"] == "ru_maxrss"
  # The logits are 32 MiB; no form of the softmax needs less than one of them.
  assert 30 < first["bytes"] / 2**20 < 160
  assert second["bytes"] is None  # what compiling the first took hides it


def test_a_fresh_process_that_fails_says_why():
  (record,) = _asked({**_POINT, "form": "absent"})
  assert record["status"] == "crashed"
  assert "form: expected one of" in record["reason"]


class _Allocator:
  """Stands for a device that tells of its allocator."""

  def __init__(self, live, mark):
    self.live, self.mark = live, mark

  def memory_stats(self):
    return {"bytes_in_use": self.live, "peak_bytes_in_use": self.mark}

  def call(self, size):
    self.mark = max(self.mark, self.live + size)


@pytest.mark.parametrize(("size", "found"), [(70, 70), (40, None), (50, None)])
def test_a_mark_that_rises_tells_what_a_call_took(monkeypatch, size, found):
  device = _Allocator(live=100, mark=150)
  monkeypatch.setattr(memory.jax, "devices", lambda: [device])
  assert memory.method() == "peak_bytes_in_use"
  peak = memory.peak(lambda: device.call(size))
  assert (peak and peak.bytes) == found


@pytest.mark.parametrize(
    ("module", "fields"),
    [
        pytest.param(
            *("kernel", {"mechanism": "gla", "form": "chunkwise"}),
            marks=pytest.mark.slow,
        ),
        ("kernel", {"mechanism": "lsh", "form": "chunkwise"}),
        ("steps", {"mechanism": "mamba2", "form": "steps"}),
        ("decoding", {"mechanism": "kda", "form": "decode", "pass": "step"}),
        pytest.param(
            "decoding",
            {"mechanism": "gla", "form": "decode", "pass": "prefill"},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_nothing_is_drawn_for_a_peak(module, fields, monkeypatch):
  """It would raise the mark on the device, and take the host seconds."""
  peak = worker.load(f"lalm.measure.{module}:PEAK")
  point = {**_POINT, "pass": "forward_backward", "length": 40, "tokens": 4}
  point |= {"causal": True, **fields}

  def unwanted(*_):
    raise AssertionError("values were drawn")

  for name in ("inputs", "cotangent"):
    monkeypatch.setattr(points, name, unwanted)
  found = peak.measure(point, 0, {"cache": None})
  assert found["bytes"] is not None


@pytest.mark.parametrize("module", ["kernel", "peers", "steps", "decoding"])
def test_every_target_has_one_that_measures_memory_alone(module):
  target = worker.load(f"lalm.measure.{module}:TARGET")
  peak = worker.load(f"lalm.measure.{module}:PEAK")
  assert isinstance(peak, peak_memory.Peak)
  assert peak._target is target


def test_a_worker_keeps_the_peak_that_it_was_told(monkeypatch):
  monkeypatch.setattr(ceilings, "measure", lambda dtype: {})
  monkeypatch.setattr(memory, "method", lambda: "ru_maxrss")
  point = {**_POINT, "mechanism": "mamba2", "form": "steps", "length": 4}
  point["causal"] = True
  told = {"bytes": 2**30, "method": "ru_maxrss"}
  settings = {"cache": None, "gate": False, "point_budget": 0.01}
  peaks = [[{**point, "length": 5}, {**told, "bytes": 7}], [point, told]]
  record = steps.Target().measure(point, 0, {**settings, "peaks": peaks})
  assert record["memory"]["peak_bytes"] == 2**30
  assert record["memory"]["flag"] == "compiler"  # steps have no closed form
  record = steps.Target().measure(point, 1, settings)
  assert record["memory"]["peak_bytes"] is None
