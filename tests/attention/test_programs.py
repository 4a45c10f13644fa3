"""Forms are different algorithms, as their traced programs show."""

import dataclasses
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from tests.attention import cases
from tests.attention import subject
from tests.oracles import programs

LONG = 16_384


def _case(length, causal=True):
  return cases.Case(
    "traced", length=length, batch=1, heads=1, width=4, value_width=3,
    causal=causal, chunk=None, dtype="float32",
  )  # fmt: skip


def _shapes(name, case):
  """Abstract `(q, k, v), gates`: nothing of this length is allocated."""
  arrays, gates = jax.eval_shape(
    lambda key: catalogue.get(name).inputs(
      key, batch=case.batch, length=case.length, heads=case.heads,
      width=case.width, value_width=case.value_width, dtype=case.dtype,
    ),
    jax.random.key(0),
  )  # fmt: skip
  return arrays, cases.moving(name, gates)


@functools.cache
def _trace(name, form, case, order):
  """The jaxpr of a form (0), its gradient (1) or a Hessian product (2)."""

  def out(place):
    return subject.apply(name, form, case, (*place, None))[0]

  def loss(place):
    return jnp.sum(jnp.sin(out(place)))

  def hessian(place):
    return jax.jvp(jax.grad(loss), (place,), (place,))[1]

  function = (out, jax.grad(loss), hessian)[order]
  return jax.make_jaxpr(function)(_shapes(name, case))


ORDERS = pytest.mark.parametrize(
    "order", (0, 1, 2), ids=("value", "gradient", "Hessian product")
)
BOTH = pytest.mark.cases(_case(LONG), _case(LONG, causal=False))


@ORDERS
@BOTH
def test_only_parallel_makes_an_array_of_queries_by_keys(
    mechanism, form, case, order
):
  if form == "step" and order:
    pytest.skip("a scan of steps keeps every cache for its gradient")
  size = programs.largest(_trace(mechanism, form, case, order))
  if form != "parallel":
    # Linear memory: no more than 512 numbers for a token.
    assert size <= 512 * LONG
  elif mechanism != "linformer" and mechanism in catalogue.names():
    # Linformer's definition is of as few keys as its fast form.
    assert size >= LONG**2


@pytest.mark.forms("recurrent")
@BOTH
def test_recurrent_takes_one_token_at_a_time(mechanism, form, case):
  assert programs.deepest(_trace(mechanism, form, case, 0)) >= LONG


@pytest.mark.forms("chunkwise", "blockwise")
@BOTH
def test_blocks_are_taken_at_a_time(mechanism, form, case):
  closed = _trace(mechanism, form, case, 0)
  # Not a token at a time: softmax has pairs of blocks, linear has chunks.
  block = 16 // (catalogue.get(mechanism).writes or 1)
  pairs = LONG // block if form == "chunkwise" else (LONG // block) ** 2
  assert programs.deepest(closed) <= pairs


@pytest.mark.forms("step")
def test_step_has_no_loop(mechanism, form):
  case = _case(1)
  place = _shapes(mechanism, case)
  state = jax.eval_shape(lambda: subject.blank(mechanism, case))
  function = catalogue.get(mechanism).forms[form]
  closed = jax.make_jaxpr(
      lambda place, state: function(*place[0], state=state, **place[1])
  )(place, state)
  assert not programs.primitives(closed) & {"scan", "while"}


@BOTH
def test_no_form_has_a_loop_of_unknown_length(mechanism, form, case):
  for order in (0, 1, 2):
    assert "while" not in programs.primitives(
        _trace(mechanism, form, case, order)
    )


@pytest.mark.parametrize("order", (0, 1), ids=("value", "gradient"))
@pytest.mark.cases(_case(LONG))
def test_no_program_holds_large_constants(mechanism, form, case, order):
  labels = subject.small(mechanism, case).get("buckets", np.zeros(0)).size
  assert (
      programs.captured(_trace(mechanism, form, case, order)) <= 4096 + labels
  )


@pytest.mark.catalogued
@pytest.mark.parametrize("order", (0, 1), ids=("value", "gradient"))
@pytest.mark.cases(_case(64))
def test_float32_is_multiplied_in_full(mechanism, form, case, order):
  """No CPU shows it: there, products have one precision."""
  closed = _trace(mechanism, form, case, order)
  for equation, _ in programs.equations(closed.jaxpr):
    if equation.primitive.name != "dot_general":
      continue
    if any(x.aval.dtype == jnp.float32 for x in equation.invars):
      highest = (jax.lax.Precision.HIGHEST,) * 2
      assert equation.params["precision"] == highest


@pytest.mark.parametrize("order", (0, 1), ids=("value", "gradient"))
@pytest.mark.cases(_case(2048))
def test_programs_do_not_grow_with_the_length(mechanism, form, case, order):
  def size(length):
    closed = _trace(mechanism, form, _case(length), order)
    return sum(1 for _ in programs.equations(closed.jaxpr))

  assert size(LONG) <= 1.1 * size(case.length)


def _compilations(function):
  """How many programs are compiled while `function()` runs."""
  count = 0

  def listen(event, duration, **_):
    nonlocal count
    count += event.endswith("backend_compile_duration")

  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    jax.block_until_ready(function())
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  return count


@pytest.mark.leading("eager, packed")
@pytest.mark.cases(
    cases.Case("eager", length=11, batch=3, dtype="float32"),
    cases.Case(
        "eager, packed", length=11, batch=3, packed=True, dtype="float32"
    ),
)
def test_a_second_eager_call_compiles_nothing(mechanism, form, case):
  # Some mechanisms are calls of another's form: each has its own shapes.
  place = (*catalogue.names(), mechanism).index(mechanism)
  case = dataclasses.replace(case, batch=3 + place)
  inputs = cases.make(mechanism, case)
  stop = 1 if form == "step" else case.length
  arrays, gates, ids = subject.part(tuple(inputs), 0, stop)
  named = dict(gates) if ids is None else {**gates, "segment_ids": ids}
  if form == "step":
    named["state"] = subject.blank(mechanism, case)
  function = catalogue.get(mechanism).forms[form]
  chosen = subject.options(mechanism, form, case)

  def run():
    return function(*arrays, **named, **chosen)

  # No other test has these shapes, so the first call must compile.
  assert _compilations(run) >= 1
  assert _compilations(run) == 0
  other = tuple(np.array(x) for x in arrays)
  assert _compilations(lambda: function(*other, **named, **chosen)) == 0


@pytest.mark.parametrize(
    "dtype", (pytest.param("float32", marks=pytest.mark.slow), "bfloat16")
)
@pytest.mark.parametrize("name", ("softmax", "window"))
def test_a_step_copies_none_of_its_cache(name, dtype):
  mechanism = catalogue.get(name)
  (q, k, v), _ = mechanism.inputs(
      jax.random.key(0), length=3, heads=6, width=8, dtype=dtype
  )
  state = mechanism.init(1, 3, 8, 8, capacity=256, dtype=dtype)

  def run(state, q, k, v):
    def one(state, qkv):
      out, state = mechanism.forms["step"](*qkv, state=state)
      return state, out

    tokens = [jnp.moveaxis(x, 1, 0)[:, None] for x in (q, k, v)]
    return jax.lax.scan(one, state, tokens)

  few = k[:, :, :3], v[:, :, :3]
  compiled = jax.jit(run, donate_argnums=0).lower(state, q, *few).compile()
  text = compiled.as_text()
  assert "dynamic-update-slice" in text and "[1,3,256,8]" in text
  copies = [
      line
      for line in text.splitlines()
      if re.search(r" (copy|transpose)\(", line) and "256,8]" in line
  ]
  assert not copies
  if dtype == "bfloat16":  # nor is it made float32 to be written to
    assert "u16[1,3,256,8]" in text
    assert not re.search(r"f32\[1,3,256,8\]\S* dynamic-update-slice", text)


@pytest.mark.parametrize(
    "dtype", ("bfloat16", pytest.param("float16", marks=pytest.mark.slow))
)
def test_gradients_reach_a_narrow_cache(dtype):
  arrays, _ = catalogue.get("softmax").inputs(
      jax.random.key(0), length=1, width=4, dtype=dtype
  )
  state = catalogue.get("softmax").init(1, 2, 4, 4, capacity=3, dtype=dtype)
  step = catalogue.get("softmax").forms["step"]

  def loss(dtype, arrays, keys, values):
    cast = lambda x: x.astype(dtype)
    given = state._replace(keys=cast(keys), values=cast(values), length=2)
    out, new = step(*map(cast, arrays), state=given)
    parts = (out, new.keys[:, :, ::2], 2 * new.values)
    return sum(jnp.sum(jnp.sin(x.astype("float32"))) for x in parts)

  draw = jax.random.normal
  keys, values = (draw(jax.random.key(i), (1, 2, 3, 4), dtype) for i in (1, 2))
  found, exact = (
      jax.grad(loss, (1, 2, 3))(kind, arrays, keys, values)
      for kind in (dtype, "float32")
  )
  for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(exact)):
    np.testing.assert_allclose(*map(np.float64, (one, other)), atol=0.03)


def test_the_trip_counts_that_these_tests_read_are_right():
  def body(carry, x):
    return jax.lax.scan(lambda c, y: (c + y, c), carry, x)

  closed = jax.make_jaxpr(lambda x: jax.lax.scan(body, 0.0, x))(
      jnp.zeros((7, 5))
  )
  assert programs.deepest(closed) == 35
  assert programs.largest(closed) == 35
  held = jax.make_jaxpr(lambda x: x + np.arange(9.0))(jnp.zeros(9))
  assert programs.captured(held) == 9
