"""The closed-form products of every form are those its program executes.

The closed form is written from the mathematics, the count is read from the
traced program: they agree exactly, or one of them is wrong.
"""

import itertools

import jax
import pytest

from lalm.attention import catalogue
from lalm.measure import operations
from tests.attention import cases
from tests.attention import subject

# Chunks that divide the length or not, exceed it, or are left to the form.
SIZES = (
    (1, None),
    (65, 16),
    (1000, 64),
    (65_536, None),
)
MORE = ((7, 16), (64, 16), (1024, None), (4097, None), (8192, 512))


def _case(length, chunk, causal):
  return cases.Case(
      f"{'causal' if causal else 'full'}, length {length}, chunk {chunk}",
      length=length,
      heads=3,
      width=8,
      value_width=5,
      causal=causal,
      chunk=chunk,
      dtype="float32",
  )


CASES = tuple(
    _case(*size, causal)
    for size, causal in itertools.product(SIZES + MORE, (True, False))
)


def _call(name, form, case):
  """A function of arrays to trace, and their shapes."""
  entry = catalogue.get(name)
  tokens = 1 if form == "step" else case.length
  (q, k, v), gates = jax.eval_shape(
    lambda key: entry.inputs(
      key, batch=case.batch, length=tokens, heads=case.heads,
      capacity=case.length,
      width=case.width, value_width=case.value_width, dtype=case.dtype,
    ),
    jax.random.key(0),
  )  # fmt: skip
  gates = cases.moving(name, gates)
  chosen = subject.options(name, form, case)
  state = None
  if form == "step":
    # The cost of a step is that of a cache with room for `length` tokens.
    state = jax.eval_shape(lambda: subject.blank(name, case))

  def out(q, k, v, gates, state):
    given = {} if state is None else {"state": state}
    result = entry.forms[form](q, k, v, **gates, **given, **chosen)
    # A step is as much for its new state as for its output.
    kept = result.state if form == "step" else None
    return getattr(result, "out", result), kept

  return out, (q, k, v, gates, state)


def _count(name, form, case, pass_):
  """Products of one call, or of a call and its vjp, read on the jaxpr."""
  out, shapes = _call(name, form, case)

  def both(q, k, v, gates, state, cotangent):
    of_inputs = lambda q, k, v, gates: out(q, k, v, gates, state)
    value, pull, kept = jax.vjp(of_inputs, q, k, v, gates, has_aux=True)
    return value, pull(cotangent), kept

  if pass_ == "forward":
    return operations.count(out, *shapes).products
  cotangent, _ = jax.eval_shape(out, *shapes)
  return operations.count(both, *shapes, cotangent).products


@pytest.mark.parametrize("pass_", ("forward", "forward_backward"))
@pytest.mark.leading(*(c.name for c in CASES[: 2 * len(SIZES)]))
@pytest.mark.quick("causal, length 65, chunk 16")
@pytest.mark.cases(*CASES)
def test_the_closed_form_is_the_number_of_products(
    mechanism, form, case, pass_
):
  own = subject.small(mechanism, case)
  own.pop("buckets", None)
  cost = catalogue.get(mechanism).cost(
    form, pass_=pass_, batch=case.batch, length=case.length, heads=case.heads,
    width=case.width, value_width=case.value_width, causal=case.causal,
    chunk=case.chunk, dtype=case.dtype, **own,
  )  # fmt: skip
  if cost is None and subject.own(mechanism):
    pytest.skip(f"{mechanism} states no cost")
  assert cost.products == _count(mechanism, form, case, pass_)
  assert cost.products > 0 and cost.bytes > 0


@pytest.mark.forms("blockwise")
@pytest.mark.parametrize("pass_", ("forward", "forward_backward"))
@pytest.mark.cases(
    cases.Case("causal", length=65_536, chunk=None, dtype="float32")
)
def test_causal_blocks_of_the_future_are_skipped(mechanism, form, case, pass_):
  full = cases.dataclasses.replace(case, causal=False)
  half = _count(mechanism, form, case, pass_)
  assert half <= 0.52 * _count(mechanism, form, full, pass_)


_WITH_STATE = [n for n in catalogue.names() if catalogue.get(n).start]


@pytest.mark.parametrize("name", _WITH_STATE)
def test_the_bytes_of_a_step_are_those_of_its_state_and_one_token(name):
  entry = catalogue.get(name)
  own = dict(batch=2, heads=3, width=8, value_width=5)
  for capacity in (64, 65_536):
    state = jax.eval_shape(lambda: entry.init(*own.values(), capacity=capacity))
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    cost = entry.cost("step", **own, length=capacity)
    # Beside it a few numbers a head: scores of what it holds, and an output.
    assert 0.5 * size < cost.bytes < 1.5 * size + 2**12, name
