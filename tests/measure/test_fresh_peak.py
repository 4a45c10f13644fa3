"""Memory in a process of its own, for devices whose mark cannot be reset."""

import pytest

from lalm.measure import ceilings
from lalm.measure import kernel
from lalm.measure import memory
from lalm.measure import steps
from lalm.measure import worker

_NAME = "lalm.measure.kernel:PEAK"

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


def test_a_fresh_process_measures_the_peak_of_a_point():
  found = kernel._fresh_peak(_NAME, _POINT, {"cache": None})
  assert found.method == memory.method()
  # The logits are 32 MiB; no form of the softmax needs less than one of them.
  assert 30 < found.bytes / 2**20 < 160


def test_a_fresh_process_that_fails_says_why():
  with pytest.raises(RuntimeError, match="form: expected one of"):
    kernel._fresh_peak(_NAME, {**_POINT, "form": "absent"}, {"cache": None})


@pytest.mark.parametrize("module", ["kernel", "peers", "steps"])
def test_every_target_names_a_process_that_knows_its_points(module):
  target = worker.load(f"lalm.measure.{module}:TARGET")
  peak = worker.load(target._fresh)
  assert isinstance(peak, kernel.Peak) and peak._target is target


def test_without_a_mark_to_reset_steps_are_measured_afresh(monkeypatch):
  asked = []
  monkeypatch.setattr(ceilings, "measure", lambda dtype: {})
  monkeypatch.setattr(memory, "method", lambda: "ru_maxrss")
  fresh = lambda *given: asked.append(given) or memory.Peak(7, "ru_maxrss")
  monkeypatch.setattr(kernel, "_fresh_peak", fresh)
  point = {**_POINT, "mechanism": "mamba2", "form": "steps", "length": 4}
  point["causal"] = True
  settings = {"cache": None, "gate": False, "point_budget": 0.01}
  record = steps.Target().measure(point, 0, settings)
  assert record["memory"]["peak_bytes"] == 7
  assert asked == [("lalm.measure.steps:PEAK", point, settings)]
