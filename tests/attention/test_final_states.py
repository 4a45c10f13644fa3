"""The state after the last token: its value, and cotangents on it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import backward
from tests.attention.bounds import forward
from tests.oracles import differences
from tests.oracles import recurrences
from tests.oracles import token_scan
from tests.oracles.compare import assert_close

GIVEN = cases.Case(
    "from a state", length=37, split=13, heads=4, kv_heads=2, margin=0.1
)
CASES = (
    GIVEN,
    cases.Case("from a state, packed", length=37, split=13, packed=True,
               margin=0.1),
    cases.Case("from a state, packed, several blocks", length=150, split=13,
               chunk=64, batch=1, margin=0.1, packed=True, blocks=True, seed=5),
)  # fmt: skip
# Their states are sums; the oracle of mLSTM's has another scale.
SUMS = [name for name in recurrences.RECURRENCES if name != "mlstm"]


@functools.cache
def _given(name, case):
  """Inputs after the split, and the state that the definition leaves there."""
  with subject.precision(case):
    inputs = cases.make(name, case)
    first = subject.part(tuple(inputs), 0, case.split)
    rest = subject.part(tuple(inputs), case.split, case.length)
    form = subject.definition(name)
    _, state = _call(name, form, case, first, subject.blank(name, case))
    return rest, jax.tree.map(np.asarray, state)


def _call(name, form, case, inputs, state):
  function = subject.function(name, form)
  chosen = subject.options(name, form, case)
  return subject.call(function, form, inputs, state, chosen)


def _floating(state):
  leaves = jax.tree.leaves(state)
  return [x for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)]


def _weights(shapes):
  return differences.directions(7, [np.zeros(shape) for shape in shapes])


@functools.cache
def _gradient(name, form, case):
  """Of a weighted sum of outputs and final state, and that state."""
  rest, state = _given(name, case)
  arrays, gates, ids = rest
  whole = lambda x: jnp.issubdtype(x.dtype, jnp.integer)
  fixed = jax.tree.map(lambda x: x if whole(x) else None, state)
  moving = jax.tree.map(lambda x: None if whole(x) else x, state)
  weights = subject.cotangent(case)[:, case.split :]
  of_state = _weights([x.shape for x in _floating(state)])

  def loss(place):
    arrays, gates, moving = place
    none = lambda x: x is None
    start = jax.tree.map(
        lambda a, b: b if a is None else a, moving, fixed, is_leaf=none
    )
    out, end = _call(name, form, case, (arrays, gates, ids), start)
    parts = zip(_floating(end), of_state, strict=True)
    return jnp.sum(out * weights) + sum(jnp.sum(x * u) for x, u in parts), end

  with subject.precision(case):
    run = subject.jit(jax.value_and_grad(loss, has_aux=True), case)
    (_, end), gradient = run((arrays, gates, moving))
    return jax.tree.map(np.asarray, (gradient, end))


@pytest.mark.leading("from a state, packed")
@pytest.mark.besides_itself
@pytest.mark.cases(*CASES)
def test_cotangents_on_the_final_state_are_those_of_the_definition(
    mechanism, form, case
):
  got, end = _gradient(mechanism, form, case)
  exact, expected = _gradient(mechanism, subject.definition(mechanism), case)
  for mine, theirs in zip(
      jax.tree.leaves(got), jax.tree.leaves(exact), strict=True
  ):
    assert_close(mine, theirs, backward(case.dtype, case.length))
  for mine, theirs in zip(_floating(end), _floating(expected), strict=True):
    assert_close(mine, theirs, forward(case.dtype, case.length))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n == "kda" else pytest.mark.slow)
        for n in SUMS
    ],
)
def test_final_states_and_cotangents_on_them_are_those_of_the_oracle(name):
  (arrays, gates, _), state = _given(name, GIVEN)
  gradient, end = _gradient(name, "chunkwise", GIVEN)
  leaves, structure = jax.tree.flatten((arrays, gates))
  weights = subject.cotangent(GIVEN)[:, GIVEN.split :]
  (of_state,) = _weights([state.S.shape])

  def run(S, *leaves):
    arrays, gates = jax.tree.unflatten(structure, leaves)
    past = token_scan.State(S)
    return recurrences.RECURRENCES[name](*arrays, state=past, **gates)

  def loss(*leaves):
    out, end = run(*leaves)
    return np.sum(out * weights) + np.sum(end.S * of_state)

  assert_close(end.S, run(state.S, *leaves).state.S, forward("float64", 37))
  place = [state.S, *leaves]
  *of_inputs, of_start = (*jax.tree.leaves(gradient[:2]), gradient[2].S)
  for number, mine in enumerate([of_start, *of_inputs]):
    along = [np.zeros_like(x) for x in place]
    along[number] = differences.directions(number, place)[number]
    expected = differences.tangent(loss, place, along)
    size = np.linalg.norm(mine)
    assert abs(np.sum(mine * along[number]) - expected) <= 1e-8 * size, number
