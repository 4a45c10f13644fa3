"""One token more, at a context that was filled before it."""

import json

import jax
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.measure import ceilings
from lalm.measure import decoding
from lalm.measure import error
from lalm.measure import memory
from lalm.measure import timing

pytestmark = pytest.mark.usefixtures("quickly_compiled")

_POINT = {
    "mechanism": "softmax", "form": "decode", "pass": "step", "length": 37,
    "batch": 2, "heads": 2, "width": 16, "value_width": 8, "tokens": 5,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
_SETTINGS = {"point_budget": 0.02, "cache": None, "seed": 0, "gate": True}
# A cache, a ring, levels, sums; gates without time, and two writes a token.
_KINDS = ("softmax", "window", "loglinear", "linear", "rwkv6", "deltaproduct")


@pytest.fixture(autouse=True)
def _known_ceilings(monkeypatch):
  known = {
      "products_per_second": 1e11,
      "batched_products_per_second": 5e10,
      "bytes_per_second": 1e10,
  }
  monkeypatch.setattr(ceilings, "measure", lambda dtype: known)
  monkeypatch.setattr(ceilings, "products", lambda dtype: 1e11)


def test_what_has_a_state_and_a_step_decodes():
  assert set(_KINDS) <= set(decoding.names())
  assert not {"lsh", "linformer", "nystromformer"} & set(decoding.names())
  with pytest.raises(ValueError, match="a state and a step, got 'lsh'"):
    decoding.get("lsh")


@pytest.mark.parametrize("pass_", decoding.PASSES)
@pytest.mark.parametrize(
    "mechanism",
    [
        pytest.param(kind, marks=pytest.mark.slow)
        if kind in ("loglinear", "rwkv6", "deltaproduct")
        else kind
        for kind in _KINDS
    ],
)
def test_the_last_tokens_pass_the_gate(mechanism, pass_):
  point = {**_POINT, "mechanism": mechanism, "pass": pass_}
  record = decoding.Target().measure(point, 0, _SETTINGS)
  assert (record["status"], record["reason"]) == ("ok", "")
  assert record["error"]["kind"] == "rows"
  assert json.loads(json.dumps(record, allow_nan=False)) == record
  planned = decoding.Target().plan(point, _SETTINGS)
  assert planned["key"] == record["key"]
  assert planned["seconds"] > 0 and planned["bytes"] > record["state_bytes"]
  counted = record["operations"]
  if pass_ == "step":
    assert counted["products"] >= counted["closed_form"] > 0
    # What adds to a state is a product too, and of a call for its output alone
    # nobody asks for it.
    if mechanism in ("softmax", "window", "linear"):
      assert counted["products"] == counted["closed_form"]
  else:
    assert counted["closed_form"] is None


@pytest.mark.parametrize(
    "tokens", (1, 100, pytest.param(37, marks=pytest.mark.slow))
)
def test_a_context_may_be_all_steps_or_one(tokens):
  point = {**_POINT, "tokens": tokens, "mechanism": "loglinear"}
  record = decoding.Target().measure(point, 0, _SETTINGS)
  assert (record["status"], record["reason"]) == ("ok", "")


@pytest.mark.parametrize("pass_", decoding.PASSES)
def test_a_wrong_token_fails_the_gate(monkeypatch, pass_):
  seen = error.check_forward

  def off(out, *rest, **more):
    wrong = out.copy()
    wrong[:, -1] += 1e-3
    return seen(wrong, *rest, **more)

  monkeypatch.setattr(error, "check_forward", off)
  record = decoding.Target().measure({**_POINT, "pass": pass_}, 0, _SETTINGS)
  assert record["status"] == "wrong"


def test_what_is_recorded_is_of_one_token(monkeypatch):
  monkeypatch.setattr(
      timing, "measure", lambda call, budget: timing.Timing([10.0, 20.0], 4)
  )
  monkeypatch.setattr(
      memory, "peak", lambda call: memory.Peak(1000, memory.method())
  )
  monkeypatch.setattr(memory, "method", lambda: "VmHWM")
  flagged = []
  monkeypatch.setattr(
      memory, "flag", lambda peak, *rest: flagged.append(peak) or str(peak)
  )
  target = decoding.Target()
  record = target.measure(_POINT, 0, _SETTINGS)
  assert record["seconds"] == [2.0, 4.0] and record["calls"] == 20
  # Keys and values of 37 tokens, a length, and where a document begins.
  state = 4 * 2 * 2 * 37 * (16 + 8) + 4 + 8 + 8
  assert record["state_bytes"] == state
  assert record["memory"]["peak_bytes"] == state + 1000
  assert record["memory"]["flag"] == str(state + 1000)  # as the other figures
  assert record["operations"]["products"] == 2 * 2 * 2 * 37 * (16 + 8)
  prefill = target.measure({**_POINT, "pass": "prefill"}, 0, _SETTINGS)
  assert prefill["seconds"] == [10.0, 20.0] and prefill["calls"] == 4
  assert prefill["memory"]["peak_bytes"] == 1000


@pytest.mark.parametrize(
    "mechanism", [pytest.param("softmax", marks=pytest.mark.slow), "linear"]
)
def test_where_peaks_are_read_apart_no_prefill_comes_before(
    mechanism, monkeypatch
):
  filled = []
  before = decoding._before
  monkeypatch.setattr(
      decoding, "_before", lambda *given: filled.append(1) or before(*given)
  )
  point = {**_POINT, "mechanism": mechanism}
  found = decoding.PEAK.measure(point, 0, _SETTINGS)
  assert found["bytes"] is not None and not filled
  decoding.TARGET.measure(point, 0, _SETTINGS)
  assert filled


def test_a_plan_knows_that_a_call_is_of_several_tokens():
  plan = lambda **fields: decoding.Target().plan({**_POINT, **fields}, {})
  one, prefill = plan(tokens=1), plan(**{"pass": "prefill"})
  assert one["repeats"] == prefill["repeats"] == 5
  assert plan(tokens=7)["repeats"] == 35
  assert plan(tokens=7)["seconds"] == one["seconds"]


@pytest.mark.parametrize(
    "mechanism",
    [
        pytest.param(kind, marks=pytest.mark.slow)
        if kind in ("rwkv6", "deltaproduct")
        else kind
        for kind in _KINDS
    ],
)
def test_steps_stay_at_their_place_however_often_they_run(mechanism):
  point = {**_POINT, "mechanism": mechanism}
  target = decoding.Target()
  ready = target._made(point, catalogue.get(mechanism), 0)
  runs = [jax.tree.map(np.array, ready.run()) for _ in range(12)]
  whole = lambda state: [
      x for x in jax.tree.leaves(state) if x.dtype.kind == "i"
  ]
  for first, last in zip(whole(runs[0][1]), whole(runs[-1][1])):
    np.testing.assert_array_equal(first, last)
  assert all(np.isfinite(out).all() for out, _ in runs)
