"""States: two halves equal the whole, whatever form computed each."""

import functools

import jax
import numpy as np
import pytest

from lalm.attention import catalogue
from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close

STATE = cases.Case("state", split=1)
HALVES = tuple(
    case
    for case in cases.FEATURES
    if case.name in ("two halves", "two halves, packed, grouped heads")
)


@functools.cache
def _compiled(name, form, case):
  function = subject.function(name, form)
  chosen = subject.options(name, form, case)
  return subject.jit(
      lambda inputs, state: subject.call(function, form, inputs, state, chosen),
      case,
  )


def _run(name, form, case, inputs, state):
  """A form from a given state over all of `inputs`, as one compiled call."""
  return _compiled(name, form, case)(tuple(inputs), state)


def _equal_states(got, expected, bound):
  got, expected = jax.tree.leaves(got), jax.tree.leaves(expected)
  for number, (a, b) in enumerate(zip(got, expected, strict=True)):
    if np.issubdtype(b.dtype, np.integer):
      np.testing.assert_array_equal(a, b)
    else:
      assert_close(a, b, bound, f"leaf {number} of the state")


@pytest.mark.leading("two halves, packed, grouped heads")
@pytest.mark.cases(*HALVES)
def test_two_halves_leave_the_state_of_the_whole(mechanism, form, case):
  _, _, halves = subject.values(mechanism, form, case)
  with subject.precision(case):
    inputs = cases.make(mechanism, case)
    blank = subject.blank(mechanism, case)
    definition = subject.definition(mechanism)
    _, whole = _run(mechanism, definition, case, inputs, blank)
  _equal_states(halves, whole, forward(case.dtype, case.length))


@pytest.mark.leading("packed prefill")
@pytest.mark.forms("step")
@pytest.mark.cases(
    cases.Case("prefill", split=30),
    cases.Case("packed prefill", split=30, packed=True),
)
def test_prefill_by_any_form_then_steps_equal_the_whole(mechanism, form, case):
  bound = forward(case.dtype, case.length)
  with subject.precision(case):
    inputs = cases.make(mechanism, case)
    blank = subject.blank(mechanism, case)
    first = subject.part(tuple(inputs), 0, case.split)
    rest = subject.part(tuple(inputs), case.split, case.length)
    expected = subject.oracle(mechanism, case, inputs)[:, case.split :]
    for prefill in catalogue.get(mechanism).forms:
      _, state = _run(mechanism, prefill, case, first, blank)
      out, _ = _run(mechanism, form, case, rest, state)
      assert_close(out, expected, bound, f"steps after {prefill}")


@pytest.mark.cases(cases.Case("full from a state", causal=False, split=13))
def test_a_full_call_from_a_state_sees_the_past_and_all_its_keys(
    mechanism, form, case
):
  split = case.split
  bound = forward(case.dtype, case.length)
  with subject.precision(case):
    inputs = cases.make(mechanism, case)
    blank = subject.blank(mechanism, case)
    first = subject.part(tuple(inputs), 0, split)
    rest = subject.part(tuple(inputs), split, case.length)
    _, state = _run(mechanism, form, case, first, blank)
    out, _ = _run(mechanism, form, case, rest, state)
    expected = subject.oracle(mechanism, case, inputs)[:, split:]
  assert_close(out, expected, bound)


@pytest.mark.cases(*HALVES[:1])
def test_the_state_keeps_its_shapes_and_dtypes(mechanism, form, case):
  with subject.precision(case):
    blank = subject.blank(mechanism, case)
  _, _, state = subject.values(mechanism, form, case)
  assert jax.tree.structure(blank) == jax.tree.structure(state)
  for before, after in zip(
      jax.tree.leaves(blank), jax.tree.leaves(state), strict=True
  ):
    assert (before.shape, before.dtype) == (after.shape, after.dtype)


@pytest.mark.cases(STATE)
def test_states_of_narrow_inputs_are_summed_in_float32(mechanism, case):
  # A cache holds the keys and values themselves, in their own dtype.
  cached = catalogue.get(mechanism).transition.startswith("none")
  for dtype in ("bfloat16", "float16", "float32"):
    case = cases.dataclasses.replace(case, dtype=dtype)
    state = subject.blank(mechanism, case)
    for leaf in jax.tree.leaves(state):
      if np.issubdtype(leaf.dtype, np.integer):
        continue
      assert leaf.dtype == (dtype if cached else np.float32)


@pytest.mark.cases(cases.Case("another segment", packed=True, split=8))
def test_another_segment_forgets_the_state(mechanism, form, case):
  with subject.precision(case):
    inputs = cases.make(mechanism, case)
    first = subject.part(tuple(inputs), 0, case.split)
    rest = subject.part(tuple(inputs), case.split, case.length)
    rest = (rest[0], rest[1], rest[2] + 100)
    blank = subject.blank(mechanism, case)
    _, state = _run(mechanism, form, case, first, blank)
    out, _ = _run(mechanism, form, case, rest, state)
    fresh = subject.oracle(mechanism, case, rest)
  assert_close(out, fresh, forward(case.dtype, case.length))


RETURN = cases.Case("ids", batch=1, length=14, split=7, packed=True, chunk=4)
ANEW = (1, 1, 2, 3, 3, 3, 3)  # a call that numbers its documents anew


@pytest.mark.parametrize(
    "ids",
    (
        ANEW,
        (-1, -1, -1, 3, 3, 3, 4),
        pytest.param((2, 3, 3, 3, 3, 3, 3), marks=pytest.mark.slow),
    ),
    ids=str,
)
@pytest.mark.cases(RETURN)
def test_a_document_with_the_id_of_the_state_begins_anew(
    mechanism, form, case, ids
):
  _begins_anew(mechanism, form, case, ids)


# One of each family that keeps its documents apart in its own way.
@pytest.mark.parametrize("name", ("window", "mamba2", "loglinear"))
def test_a_document_begins_anew_in_every_family(name):
  _begins_anew(name, "chunkwise", RETURN, ANEW)


def _begins_anew(mechanism, form, case, ids):
  """If another came between, nothing of the state's is seen or kept."""
  with subject.precision(case):
    arrays, gates, _ = cases.make(mechanism, case)
    known = np.array([[0, 0, 3, 3, 3, 3, 3, *ids]], np.int32)
    first, rest = (
        subject.part((arrays, gates, known), *ends)
        for ends in ((0, 7), (7, 14))
    )
    _, state = _run(
        mechanism, form, case, first, subject.blank(mechanism, case)
    )
    other = (rest[0], rest[1], rest[2] + 100)
    (out, after), (expected, new) = (
        _run(mechanism, form, case, given, state) for given in (rest, other)
    )
  np.testing.assert_array_equal(out, expected)
  arrays = [  # but for the cache, which keeps what is not seen, and the id
      [x for x in jax.tree.leaves(s) if s.segment is not x]
      for s in (after, new)
  ]
  jax.tree.map(np.testing.assert_array_equal, *arrays)


@pytest.mark.parametrize("form", ("recurrent", "chunkwise", "step"))
def test_a_document_beyond_its_levels_gives_nan_and_not_a_wrong_value(form):
  case = cases.Case("overflow", length=5, dtype="float32")
  arrays, gates, _ = cases.make("loglinear", case)
  blank = subject.blank("loglinear", case)  # 8 tokens have 3 levels
  out, state = _run("loglinear", form, case, (arrays, gates, None), blank)
  assert np.all(np.isfinite(out))
  out, _ = _run("loglinear", form, case, (arrays, gates, None), state)
  assert np.all(np.isfinite(out[:, :3])) and np.all(np.isnan(out[:, 3:]))


@pytest.mark.parametrize("form", ("parallel", "blockwise", "step"))
def test_a_cache_that_overflows_gives_nan_and_not_a_wrong_value(form):
  case = cases.Case("overflow", length=5, dtype="float32")
  inputs = cases.make("softmax", case)
  blank = catalogue.get("softmax").init(
      case.batch, case.heads, case.width, case.value_width,
      capacity=7, dtype=case.dtype,
  )  # fmt: skip
  out, state = _run("softmax", form, case, inputs, blank)
  assert np.all(np.isfinite(out))
  out, _ = _run("softmax", form, case, inputs, state)
  assert np.all(np.isnan(np.asarray(out)[:, 2:]))
