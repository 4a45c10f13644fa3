"""A scan of steps is the mechanism, and its floors are timed beside it."""

import dataclasses
import json

import pytest

from lalm.attention import catalogue
from lalm.measure import ceilings
from lalm.measure import points
from lalm.measure import steps

_POINT = {
    "mechanism": "mamba2", "form": "steps", "pass": "forward",
    "length": 24, "batch": 2, "heads": 2, "width": 16, "value_width": 8,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
_SETTINGS = {"point_budget": 0.02, "cache": None, "seed": 0, "gate": True}


@pytest.fixture(autouse=True)
def _known_ceilings(monkeypatch):
  known = {
      "products_per_second": 1e11,
      "batched_products_per_second": 5e10,
      "bytes_per_second": 1e10,
  }
  monkeypatch.setattr(ceilings, "measure", lambda dtype: known)
  monkeypatch.setattr(ceilings, "products", lambda dtype: 1e11)


# A gate without time, two writes a token, a normaliser, and another dtype.
@pytest.mark.parametrize(
    ("mechanism", "dtype", "state"),
    [
        ("rwkv6", "float32", 4 * 2 * 2 * 16 * 8 + 8),
        ("deltaproduct", "bfloat16", 4 * 2 * 2 * 16 * 8 + 8),
        ("linear", "float64", 8 * 2 * 2 * 16 * 9 + 8),
    ],
)
def test_steps_pass_the_gate_and_have_floors(mechanism, dtype, state):
  point = {**_POINT, "mechanism": mechanism, "dtype": dtype}
  record = steps.Target().measure(point, 0, _SETTINGS)
  assert (record["status"], record["reason"]) == ("ok", "")
  assert json.loads(json.dumps(record, allow_nan=False)) == record
  floors = record["floors"]
  assert floors["state_bytes"] == state
  assert all(min(floors[name]) > 0 for name in ("scaling", "call", "no_op"))


def test_a_scan_of_steps_does_the_products_of_the_recurrence():
  mechanism = catalogue.get("kda")
  point = {**_POINT, "mechanism": "kda"}
  planned = steps.Target().plan(point, _SETTINGS)["operations"]["products"]
  known = mechanism.cost("recurrent", length=24, batch=2, heads=2, width=16,
                         value_width=8).products  # fmt: skip
  assert planned == known


def test_steps_that_forget_are_not_timed(monkeypatch):
  right = catalogue.get("mamba2")

  def forgetful(q, k, v, *, state, **gates):
    out, _ = right.forms["step"](q, k, v, state=state, **gates)
    return out, state

  wrong = dataclasses.replace(right, forms={**right.forms, "step": forgetful})
  monkeypatch.setitem(catalogue._BY_NAME, "mamba2", wrong)
  record = steps.Target().measure(_POINT, 0, _SETTINGS)
  assert record["status"] == "wrong" and "floors" not in record


def test_mechanisms_without_a_state_of_fixed_size_are_left_out():
  assert "softmax" not in steps.names()
  assert {"linear", "mlstm", "rwkv7"} <= set(steps.names())
  with pytest.raises(ValueError, match="mechanism: expected one of softmax"):
    steps.get("mamba")
  with pytest.raises(ValueError, match="recurrent and step, got 'softmax'"):
    steps.get("softmax")


def test_steps_are_causal():
  with pytest.raises(ValueError, match="causal: expected True for steps"):
    points.program({**_POINT, "causal": False}, steps.get("mamba2")).function(
        *points.inputs(_POINT, steps.get("mamba2"))
    )
