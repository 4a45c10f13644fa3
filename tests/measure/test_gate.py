"""What runs on a device is compared, and nothing is timed."""

import dataclasses

import jax
import pytest

from lalm.attention import catalogue
from lalm.attention import linear
from lalm.attention import tuning
from lalm.measure import ceilings
from lalm.measure import gate
from lalm.measure import kernel

_POINT = {
    "mechanism": "linear",
    "form": "chunkwise",
    "pass": "forward_backward",
    "length": 37,
    "batch": 1,
    "heads": 2,
    "width": 8,
    "value_width": 4,
    "dtype": "float32",
    "causal": True,
    "chunk": None,
    "corpus": "normal",
    "seed": 0,
}


def _target(wrong=None):
  """A target whose forms are all made wrong in the same way."""
  target = gate.Target()
  if wrong:
    find = target.find

    def get(name):
      mechanism = find(name)
      form = mechanism.forms["chunkwise"]
      forms = {**mechanism.forms, "chunkwise": lambda *a, **k: wrong(form, *a)}
      return dataclasses.replace(mechanism, forms=forms)

    target.find = get
  return target


@pytest.mark.parametrize("pass_", ["forward", "forward_backward"])
def test_a_form_that_is_right_is_ok_and_untimed(pass_):
  record = _target().measure({**_POINT, "pass": pass_}, 0, {"cache": None})
  assert record["status"] == "ok"
  assert 0 < record["error"]["relative"] <= record["error"]["tolerance"]
  assert "seconds" not in record and "memory" not in record


def test_a_wrong_value_is_found():
  late = lambda form, q, k, v: form(q, k, v).out.at[:, 20:].mul(1.001)
  record = _target(late).measure(_POINT, 0, {"cache": None})
  assert (record["status"], record["error"]["kind"]) == ("wrong", "rows")


def test_a_wrong_gradient_is_found():
  def stopped(form, q, k, v):
    return form(q, k.at[:, :9].set(jax.lax.stop_gradient(k[:, :9])), v).out

  record = _target(stopped).measure(_POINT, 0, {"cache": None})
  assert (record["status"], record["error"]["kind"]) == ("wrong", "directional")


def _off(monkeypatch, mechanism, form):
  """What a gate on a GPU says of float32 that is off by 1e-4."""
  point = {**_POINT, "mechanism": mechanism, "form": form, "pass": "forward"}
  target = gate.Target()

  def off(q, k, v, *, causal):
    return 1.0001 * linear.chunkwise(q, k, v, causal=causal).out

  own = dataclasses.replace(
      catalogue.get("linear"), forms={form: off}, featured=()
  )
  target.find = lambda name: own
  monkeypatch.setattr(kernel.jax, "default_backend", lambda: "gpu")
  monkeypatch.setattr(tuning, "assumed", lambda: "cpu")
  return target.measure(point, 0, {"cache": None})["status"]


def test_our_float32_is_held_to_the_bar_of_a_cpu_on_any_device(monkeypatch):
  assert _off(monkeypatch, "linear", "chunkwise") == "wrong"


@pytest.mark.parametrize(
    ("mechanism", "form"), [("my.module:LINEAR", "fast"), ("linear", "jla")]
)
def test_others_may_multiply_float32_as_the_device_does(
    monkeypatch, mechanism, form
):
  assert _off(monkeypatch, mechanism, form) == "ok"


def test_a_plan_is_of_one_call_and_asks_for_no_peaks():
  target = gate.Target()
  assert target.plan(_POINT, {})["repeats"] == 1
  assert target.surroundings()["memory_method"] is None
  assert "ceilings" not in target.environment()


def test_no_ceiling_is_measured_where_nothing_is_timed(monkeypatch):
  def unwanted(dtype):
    raise AssertionError(f"a ceiling of {dtype} was measured")

  for name in ("measure", "products"):
    monkeypatch.setattr(ceilings, name, unwanted)
  target = gate.Target()
  assert target.plan(_POINT, {})["seconds"] is None
  assert target.measure(_POINT, 0, {"cache": None})["status"] == "ok"


def test_steps_are_compared_too():
  point = {**_POINT, "form": "step"}
  assert gate.Target().measure(point, 0, {"cache": None})["status"] == "ok"
