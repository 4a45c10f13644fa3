"""No output depends on a later token: bit by bit, and in the gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from tests.attention import cases
from tests.attention import subject

CAUSAL = (
    cases.Case("causal", length=41, dtype="float32"),
    cases.Case(
        "packed, grouped heads",
        length=41,
        packed=True,
        heads=4,
        kv_heads=2,
        dtype="float32",
    ),
    cases.Case("two halves", length=41, split=19, dtype="float32"),
)
# The first token, inside a chunk, on its edge, the last.
PLACES = (1, 13, 16, 25, 40)


@functools.cache
def _compiled(name, form, case):
  return jax.jit(lambda inputs: subject.apply(name, form, case, inputs)[0])


def _in_time(name, arrays, gates):
  """Names and values of the arrays that have a token axis, which is axis 1."""
  layouts = catalogue.get(name).layouts
  named = {**dict(zip(layouts, arrays)), **gates}
  return {key: x for key, x in named.items() if "T" in layouts[key]}


def _changed(name, inputs, place, change):
  """The inputs with every array changed from token `place` on."""
  values = _in_time(name, inputs.arrays, inputs.gates)
  values = {key: np.array(x) for key, x in values.items()}
  for x in values.values():
    x[:, place:] = change(x[:, place:])
  arrays = tuple(values.pop(key) for key in list(values)[:3])
  return arrays, {**inputs.gates, **values}, inputs.segment_ids


@pytest.mark.cases(*CAUSAL)
def test_no_output_sees_a_later_token(mechanism, form, case):
  inputs = cases.make(mechanism, case)
  run = _compiled(mechanism, form, case)
  out = np.asarray(run(tuple(inputs)))
  for place in PLACES:
    changed = _changed(mechanism, inputs, place, lambda x: -3 * x + 1)
    other = np.asarray(run(changed))
    np.testing.assert_array_equal(out[:, :place], other[:, :place])
    assert not np.array_equal(out[:, place:], other[:, place:])


@pytest.mark.leading("packed, grouped heads")
@pytest.mark.cases(*CAUSAL[:2])
def test_past_outputs_have_no_gradient_in_later_inputs(mechanism, form, case):
  inputs = cases.make(mechanism, case)

  def gradient(place, seen):
    def loss(place):
      out = subject.apply(mechanism, form, case, (*place, inputs[2]))[0]
      return jnp.sum(jnp.sin(out) * seen[:, None, None])

    return jax.grad(loss)(place)

  gradient = subject.jit(gradient, case)
  for place in PLACES:
    seen = np.arange(case.length) < place
    grads = gradient(tuple(inputs[:2]), seen.astype(np.float32))
    for grad in _in_time(mechanism, *grads).values():
      np.testing.assert_array_equal(np.asarray(grad)[:, place:], 0)
    # A query moves the weights only where it sees two keys.
    assert np.any(np.asarray(grads[0][2])[:, :place])


@pytest.mark.cases(CAUSAL[1])
def test_no_document_sees_another(mechanism, form, case):
  inputs = cases.make(mechanism, case)
  run = _compiled(mechanism, form, case)
  out = np.asarray(run(tuple(inputs)))
  for row, ids in enumerate(inputs.segment_ids):
    start = int(np.flatnonzero(ids == ids[20])[0])
    stop = int(np.flatnonzero(ids == ids[20])[-1]) + 1
    arrays = [np.array(x) for x in inputs.arrays]
    for x in arrays:
      x[row, :start] *= -2
      x[row, stop:] *= 5
    other = np.asarray(run((tuple(arrays), *inputs[1:])))
    np.testing.assert_array_equal(out[row, start:stop], other[row, start:stop])
