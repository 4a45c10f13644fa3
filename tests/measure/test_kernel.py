"""The measuring target on a small mechanism that needs no catalogue."""

import json

import jax
from jax import lax
import jax.numpy as jnp
import pytest

from lalm.measure import ceilings
from lalm.measure import kernel
from lalm.measure import memory
from lalm.measure import timing
from tests.measure import naive

_POINT = {
    "mechanism": "naive",
    "form": "parallel",
    "pass": "forward",
    "length": 64,
    "batch": 1,
    "heads": 2,
    "width": 16,
    "value_width": 8,
    "dtype": "float32",
    "causal": True,
    "chunk": None,
    "corpus": "",
    "seed": 0,
}
_SETTINGS = {"point_budget": 0.02, "cache": None, "seed": 0, "gate": True}
_CEILINGS = {
    "products_per_second": 1e11,
    "batched_products_per_second": 5e10,
    "bytes_per_second": 1e10,
}


@pytest.fixture(name="make", autouse=True)
def _make(monkeypatch):
  monkeypatch.setattr(ceilings, "measure", lambda dtype: _CEILINGS)
  monkeypatch.setattr(ceilings, "products", lambda dtype: 1e11)

  def make(form=naive.parallel, **fields):
    mechanism = naive.Naive({"parallel": form}, **fields)
    return kernel.Target(find=lambda name: mechanism)

  yield make
  kernel.use_cache(None)


@pytest.mark.parametrize("pass_", ["forward", "forward_backward"])
def test_a_right_point_gives_a_whole_record(make, pass_):
  point = {**_POINT, "pass": pass_}
  record = make().measure(point, 3, _SETTINGS)
  assert json.loads(json.dumps(record, allow_nan=False)) == record
  assert record["status"] == "ok" and record["reason"] == ""
  assert record["point"] == point and record["replicate"] == 3
  assert len(record["seconds"]) >= 3 and min(record["seconds"]) > 0
  assert record["calls"] >= len(record["seconds"])
  assert record["error"]["relative"] <= record["error"]["tolerance"]
  kinds = {"forward": "rows", "forward_backward": "directional"}
  assert record["error"]["kind"] == kinds[pass_]
  assert record["compile_seconds"] > 0 and record["lowering_seconds"] > 0
  assert record["ceilings"] == _CEILINGS
  assert set(record["memory"]) == {
      "peak_bytes",
      "method",
      "compiler_temp_bytes",
      "compiler_argument_bytes",
      "compiler_output_bytes",
      "compiler_alias_bytes",
      "closed_form_bytes",
      "flag",
  }
  # 2mnk of q k^T and P v; their derivatives are four more products.
  logits, values = 2 * 2 * 64 * 64 * 16, 2 * 2 * 64 * 64 * 8
  factor = {"forward": 1, "forward_backward": 3}[pass_]
  assert record["operations"]["products"] == factor * (logits + values)
  assert record["operations"]["closed_form"] is None


def test_the_forward_function_returns_the_output_only(make):
  out = jax.ShapeDtypeStruct((1, 64, 2, 8), jnp.float32)
  mechanism = naive.Naive({"parallel": naive.parallel})
  forward = kernel.points.program(_POINT, mechanism)
  shapes = jax.eval_shape(forward.function, *forward.arguments)
  assert (shapes.shape, shapes.dtype) == (out.shape, out.dtype)
  point = {**_POINT, "pass": "forward_backward"}
  backward = kernel.points.program(point, mechanism)
  shapes = jax.eval_shape(backward.function, *backward.arguments)
  assert [s.shape for s in shapes] == [
      (1, 64, 2, 8),
      (1, 64, 2, 16),
      (1, 64, 2, 16),
      (1, 64, 2, 8),
  ]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes_are_measured_as_they_are(make, dtype):
  record = make().measure({**_POINT, "dtype": dtype}, 0, _SETTINGS)
  assert record["status"] == "ok", record["reason"]
  size = {"float64": 8, "bfloat16": 2}[dtype]
  given = record["memory"]["compiler_argument_bytes"]
  assert given == size * 64 * 2 * (16 + 16 + 8)


def test_a_plan_has_the_key_and_operations_that_are_measured(make):
  target = make()
  plan = target.plan(_POINT, _SETTINGS)
  record = target.measure(_POINT, 0, _SETTINGS)
  assert plan["key"] == record["key"] and len(plan["key"]) == 16
  assert plan["operations"] == record["operations"]
  assert plan["seconds"] > 0
  given = 4 * 64 * 2 * (16 + 16 + 8)
  assert plan["bytes"] > given + 4 * 2 * 64 * 64
  json.dumps(plan, allow_nan=False)


def test_the_closed_form_stands_beside_what_was_counted(make):
  def cost(form, *, pass_, batch, length, heads, width, value_width, **rest):
    assert (form, pass_) == ("parallel", "forward")
    assert set(rest) == {"causal", "chunk", "dtype", "platform"}
    assert rest["platform"] == "cpu"
    products = 2 * batch * heads * length**2 * (width + value_width)
    return naive.Cost(products, 10**9)

  target = make(cost=cost)
  plan = target.plan(_POINT, _SETTINGS)
  assert plan["bytes"] == 10**9 + 4 * 64 * 2 * (16 + 16 + 8)
  record = target.measure(_POINT, 0, _SETTINGS)
  counted = record["operations"]
  assert counted["closed_form"] == counted["products"]
  assert record["memory"]["closed_form_bytes"] == 10**9
  assert record["memory"]["flag"] == "closed form"


@pytest.mark.parametrize(
    "change",
    [
        {"length": 65},
        {"pass": "forward_backward"},
        {"causal": False},
        {"corpus": "normal"},
        {"seed": 1},
        {"dtype": "float16"},
    ],
)
def test_another_point_has_another_key(make, change):
  target = make()
  first = target.plan(_POINT, _SETTINGS)["key"]
  assert target.plan({**_POINT, **change}, _SETTINGS)["key"] != first


def test_another_kernel_or_setting_has_another_key(make, monkeypatch):
  first = make().plan(_POINT, _SETTINGS)["key"]
  again = make().plan(_POINT, {**_SETTINGS, "point_budget": 9.0})["key"]
  assert again == first

  def other(q, k, v, *, causal):
    return naive.parallel(q, k * 1.5, v, causal=causal)

  assert make(other).plan(_POINT, _SETTINGS)["key"] != first
  monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
  assert make().plan(_POINT, _SETTINGS)["key"] != first


def test_a_wrong_kernel_is_not_timed(make):
  def wrong(q, k, v, *, causal):
    out, _ = naive.parallel(q, k, v, causal=causal)
    return jnp.roll(out, 1, axis=1)

  for pass_ in ("forward", "forward_backward"):
    record = make(wrong).measure({**_POINT, "pass": pass_}, 0, _SETTINGS)
    assert record["status"] == "wrong"
    assert "relative error" in record["reason"]
    assert "seconds" not in record and "memory" not in record
    assert record["error"]["relative"] > record["error"]["tolerance"]
    assert record["key"] and record["point"]["pass"] == pass_


def test_a_kernel_with_wrong_gradients_only_is_not_timed(make):
  def wrong(q, k, v, *, causal):
    # The value of k, the gradient of k times 1.01.
    k = 1.01 * k - lax.stop_gradient(0.01 * k)
    return naive.parallel(q, k, v, causal=causal)

  target = make(wrong)
  assert target.measure(_POINT, 0, _SETTINGS)["status"] == "ok"
  point = {**_POINT, "pass": "forward_backward"}
  record = target.measure(point, 0, _SETTINGS)
  assert record["status"] == "wrong"
  assert record["error"]["kind"] == "directional"


def test_one_nan_is_a_status_and_json_all_the_same(make):
  def nan(q, k, v, *, causal):
    return naive.parallel(q, k, v, causal=causal)[0].at[0, 5, 0, 0].set(jnp.nan)

  record = make(nan).measure(_POINT, 0, _SETTINGS)
  assert record["status"] == "not_finite"
  assert record["error"]["relative"] is None
  json.dumps(record, allow_nan=False)


def test_without_the_gate_no_error_is_claimed(make):
  settings = {**_SETTINGS, "gate": False}
  record = make().measure(_POINT, 0, settings)
  assert record["status"] == "ok" and "error" not in record


def test_what_is_read_from_a_cache_claims_no_compile_time(make, tmp_path):
  settings = {**_SETTINGS, "cache": str(tmp_path)}
  point = {**_POINT, "length": 72}
  first = make().measure(point, 0, settings)
  assert first["status"] == "ok" and list(tmp_path.iterdir())
  assert first["compile_seconds"] > 0 and first["lowering_seconds"] > 0
  again = make().measure(point, 1, settings)
  assert again["status"] == "ok"
  assert again["compile_seconds"] is None
  assert again["lowering_seconds"] is None


def test_an_unreadable_loop_is_timed_without_a_count(make):
  def looped(q, k, v, *, causal):
    count = (jnp.sum(jnp.abs(q)) > 0).astype(int) + 1
    body = lambda _, out: naive.parallel(q, k, v, causal=causal)[0] + 0 * out
    return lax.fori_loop(0, count, body, v)

  target = make(looped)
  record = target.measure(_POINT, 0, _SETTINGS)
  assert record["status"] == "ok"
  assert record["operations"]["products"] is None
  assert "trip count" in record["operations"]["reason"]
  assert target.plan(_POINT, _SETTINGS)["seconds"] is None


@pytest.mark.parametrize(
    "change, words",
    [
        ({"form": "step"}, "form: expected one of parallel, got 'step'"),
        ({"pass": "sideways"}, "pass: expected one of forward, "),
        ({"corpus": "/absent/file"}, "corpus: expected a file or folder"),
    ],
)
def test_a_point_that_cannot_be_says_why(make, change, words):
  with pytest.raises(ValueError, match=words):
    make().measure({**_POINT, **change}, 0, _SETTINGS)


def test_ceilings_are_of_the_dtypes_timed_and_measured_once_with_the_cache_on(
    make, monkeypatch, tmp_path
):
  asked = []

  def measure(dtype):
    asked.append((dtype, jax.config.jax_compilation_cache_dir))
    return {"products_per_second": float(len(asked))}

  monkeypatch.setattr(ceilings, "measure", measure)
  target = make()
  found = target.environment()
  assert {"machine", "slug", "versions", "settings"} <= set(found)
  assert not asked and "ceilings" not in found
  settings = {**_SETTINGS, "cache": str(tmp_path)}
  rates = [
      target.measure({**_POINT, "dtype": dtype}, 0, settings)["ceilings"]
      for dtype in ("bfloat16", "float16", "bfloat16")
  ]
  assert [rate["products_per_second"] for rate in rates] == [1.0, 2.0, 1.0]
  assert asked == [("bfloat16", str(tmp_path)), ("float16", str(tmp_path))]


def test_seconds_of_the_gate_and_of_ceilings_are_told_apart(make, monkeypatch):
  now = [0.0]
  monkeypatch.setattr(kernel.time, "perf_counter", lambda: now[0])

  def lasting(seconds, call):
    def late(*arguments):
      now[0] += seconds
      return call(*arguments)

    return late

  monkeypatch.setattr(ceilings, "measure", lasting(7.0, ceilings.measure))
  target = make()
  monkeypatch.setattr(target, "_gate", lasting(5.0, target._gate))
  monkeypatch.setattr(kernel.timing, "measure", _known_times)
  monkeypatch.setattr(kernel.memory, "peak", lambda run: memory.Peak(1, ""))
  seconds = lambda gate: target.measure(_POINT, 0, {**_SETTINGS, "gate": gate})[
      "once_seconds"
  ]
  assert [seconds(True), seconds(True), seconds(False)] == [12.0, 5.0, 0.0]


def _known_times(run, budget):
  del run, budget
  return timing.Timing([1.0] * 3, 3)


@pytest.mark.parametrize(
    "name, form, length, causal",
    [
        # Buckets of more than the window.
        pytest.param("lsh", "chunkwise", 3000, True, marks=pytest.mark.slow),
        ("nystromformer", "blockwise", 300, False),
    ],
)
def test_a_gate_of_integers_and_a_full_mechanism_are_gated_and_counted(
    name, form, length, causal
):
  shape = {"length": length, "pass": "forward_backward", "causal": causal}
  point = {**_POINT, **shape, "mechanism": name, "form": form}
  record = kernel.TARGET.measure(point, 0, _SETTINGS)
  assert record["status"] == "ok", record["reason"]
  counted = record["operations"]
  assert counted["closed_form"] == counted["products"]
