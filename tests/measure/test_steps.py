"""A scan of steps is the mechanism, and its floors are timed beside it."""

import dataclasses
import json
import re

import chex
import jax
import jax.numpy as jnp
import pytest

from lalm.attention import catalogue
from lalm.measure import ceilings
from lalm.measure import points
from lalm.measure import steps
from lalm.measure import timing

_POINT = {
    "mechanism": "mamba2", "form": "steps", "pass": "forward",
    "length": 24, "batch": 2, "heads": 2, "width": 16, "value_width": 8,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
# No decay, one that is read after, one before, and what is replaced.
_QUICK = ("linear", "mamba2", "rwkv6", "kda")
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
        pytest.param(
            *("rwkv6", "float32", 4 * 2 * 2 * 16 * 8 + 8),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("deltaproduct", "bfloat16", 4 * 2 * 2 * 16 * 8 + 8),
            marks=pytest.mark.slow,
        ),
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


def test_floors_are_of_one_scaling_one_call_and_one_of_nothing(monkeypatch):
  shapes, budgets = [], []

  def measure(call, *, budget):
    leaves = jax.tree.leaves(call())
    shapes.append([x.shape for x in leaves if x.size > 1])
    budgets.append(budget)
    return timing.Timing([12.0 * 5 ** len(shapes)], 1)

  monkeypatch.setattr(timing, "measure", measure)
  floors = steps._floors(_POINT, 0.5)
  assert budgets == [0.5] * 3
  # The state of both batches; one token of one batch and its state; nothing.
  assert shapes == [
      [(2, 2, 16, 8), (2,)],
      [(1, 1, 2, 8), (1, 2, 16, 8)],
      [],
  ]
  assert floors["scaling"] == [60 / 24]  # 24 times in a call
  assert (floors["call"], floors["no_op"]) == ([300.0], [1500.0])


def test_scaling_changes_all_of_a_state_but_its_document():
  mechanism = catalogue.get("mlstm")
  zeros = steps._state(mechanism, {**_POINT, "mechanism": "mlstm"})
  state = jax.tree.map(jnp.ones_like, zeros)
  scaled = steps._scaling(state, 3)()
  for name in ("S", "z", "m"):
    chex.assert_trees_all_close(getattr(scaled, name), 0.999**3, rtol=1e-6)
  assert scaled.segment.tolist() == [1, 1]


def test_steps_whose_floors_fail_are_kept(monkeypatch):
  def fail(state, times):
    raise MemoryError("no room")

  monkeypatch.setattr(steps, "_scaling", fail)
  record = steps.Target().measure(_POINT, 0, _SETTINGS)
  assert record["status"] == "ok" and record["seconds"]
  assert record["floors"] == {"reason": "MemoryError: no room"}


def test_a_key_is_of_the_floors_too(monkeypatch):
  planned = steps.TARGET.plan(_POINT, _SETTINGS)["key"]
  assert steps.TARGET.plan(_POINT, _SETTINGS)["key"] == planned
  with monkeypatch.context() as patch:
    patch.setattr(steps, "_scaling", lambda state, times: None)
    assert steps.TARGET.plan(_POINT, _SETTINGS)["key"] != planned
  monkeypatch.setattr(steps, "_lowered_call", lambda point: "another")
  assert steps.TARGET.plan(_POINT, _SETTINGS)["key"] != planned


def test_a_scan_of_steps_does_the_products_of_the_recurrence():
  mechanism = catalogue.get("kda")
  point = {**_POINT, "mechanism": "kda"}
  planned = steps.Target().plan(point, _SETTINGS)["operations"]["products"]
  known = mechanism.cost("recurrent", length=24, batch=2, heads=2, width=16,
                         value_width=8).products  # fmt: skip
  assert planned == known


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
        for name in steps.names()
    ],
)
def test_a_state_is_changed_in_place(name):
  mechanism = steps.get(name)
  point = {**_POINT, "mechanism": name, "width": 16, "value_width": 24}
  program = points.program(point, mechanism)
  lowered = program.function.lower(*program.arguments)
  text = lowered.compile().as_text()
  state = f"f32[2,2,{mechanism.features(16)},24]"
  assert f" = {state}" in text
  copies = re.findall(rf" = {re.escape(state)}\S* copy\(", text)
  # What RWKV-6 writes does not depend on what it reads before, so that XLA does
  # not know that it may overwrite that.
  assert len(copies) == (name == "rwkv6")


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
