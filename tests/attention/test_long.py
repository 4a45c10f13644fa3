"""Long sequences and random shapes: slow."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import backward
from tests.attention.bounds import forward
from tests.attention.bounds import values
from tests.oracles.compare import assert_close

pytestmark = pytest.mark.slow

ROWS = 64


def _long(length, causal, **changes):
  return cases.Case(
      f"{'causal' if causal else 'full'}, length {length}",
      length=length,
      batch=1,
      heads=1,
      causal=causal,
      chunk=None,
      dtype="float32",
      **changes,
  )


def _rows(length):
  """Seeded query rows, the first and the last among them."""
  rows = np.random.default_rng(0).choice(length, ROWS, replace=False)
  return np.unique([0, length - 1, *rows])


@functools.cache
def _expected(mechanism, case):
  """Some rows of the oracle; the others would take it hours."""
  inputs = cases.make(mechanism, case)
  rows = _rows(case.length)
  if mechanism in ("softmax", "window"):
    return subject.oracle(mechanism, case, inputs, rows=rows)
  return subject.oracle(mechanism, case, inputs)[:, rows]


def _check(mechanism, form, case):
  _, out, _ = subject.values(mechanism, form, case)
  rows = out[:, _rows(case.length)]
  bound = values(mechanism, form, case)
  assert_close(rows, _expected(mechanism, case), bound)


@pytest.mark.cases(
    _long(4097, True),
    _long(4097, False),
    _long(4097, True, packed=True),
    _long(4097, True, split=2000),
)
def test_thousands_of_tokens_equal_the_oracle(mechanism, form, case):
  _check(mechanism, form, case)


@pytest.mark.forms("blockwise", "chunkwise", "recurrent")
@pytest.mark.cases(_long(65_536, True), _long(65_536, False))
def test_sixty_five_thousand_tokens_equal_the_oracle(mechanism, form, case):
  _check(mechanism, form, case)


@functools.cache
def _gradient(mechanism, form, case, exact):
  with subject.precision(case):
    arrays, gates, ids = cases.make(mechanism, case)
  if exact:
    case = subject.widened(case)
    arrays, gates = jax.tree.map(lambda x: x.astype("float64"), (arrays, gates))
  with subject.precision(case):
    weights = jnp.asarray(subject.cotangent(case), case.dtype)

    def loss(place):
      out = subject.apply(mechanism, form, case, (*place, ids))[0]
      return jnp.sum(out * weights)

    run = jax.jit(jax.grad(loss))
    return jax.tree.map(np.asarray, run((arrays, gates)))


# Beside a kink a query of DPFP may have one feature alone, x: its output does
# not depend on it, and the gradient is two equal numbers' difference over x.
@pytest.mark.cases(
    _long(4097, True, margin=0.1),
    _long(4097, False, margin=0.1),
)
def test_gradients_of_thousands_of_tokens_equal_the_definition(
    mechanism, form, case
):
  if form == "step":
    pytest.skip("a scan of steps keeps every cache for its gradient")
  definition = subject.definition(mechanism)
  exact = jax.tree.leaves(_gradient(mechanism, definition, case, True))
  got = jax.tree.leaves(_gradient(mechanism, form, case, False))
  for number, (mine, theirs) in enumerate(zip(got, exact, strict=True)):
    bound = backward(case.dtype, case.length)
    assert_close(mine, theirs, bound, f"gradient {number}")


def _random(seed):
  """A case drawn at random; what is odd about it is in its name."""
  generator = np.random.default_rng(seed)
  draw = lambda low, high: int(generator.integers(low, high))
  kv_heads = draw(1, 4)
  length = draw(1, 150)
  causal = bool(draw(0, 2))
  packed = bool(draw(0, 2))
  split = draw(1, length) if causal and length > 1 and draw(0, 2) else 0
  return cases.Case(
      f"random {seed}",
      length=length,
      keys=None if causal or packed else draw(1, 150),
      batch=draw(1, 4),
      heads=kv_heads * draw(1, 4),
      kv_heads=kv_heads,
      width=draw(1, 10),
      value_width=draw(1, 10),
      causal=causal,
      packed=packed,
      split=split,
      scale=(None, 0.3, 2.0)[draw(0, 3)],
      chunk=(None, draw(1, 9), draw(9, 70))[draw(0, 3)],
      seed=seed,
  )


@pytest.mark.cases(*(_random(seed) for seed in range(1, 31)))
def test_random_shapes_equal_the_oracle(mechanism, form, case):
  inputs, out, _ = subject.values(mechanism, form, case)
  expected = subject.oracle(mechanism, case, inputs)
  # A row of few tokens may have logits far apart, and cancel.
  assert_close(out, expected, 10 * forward(case.dtype, case.length))


@pytest.mark.besides_itself
@pytest.mark.cases(*(_random(seed) for seed in range(31, 37)))
def test_derivatives_of_random_shapes_equal_the_definition(
    mechanism, form, case
):
  got = subject.derivatives(mechanism, form, case)
  exact = subject.derivatives(mechanism, subject.definition(mechanism), case)
  for name, mine, theirs in subject.pairs(got, exact):
    size = np.linalg.norm(theirs)
    if size < 1e-9:  # one key a row: the weights cannot move
      assert np.linalg.norm(mine) < 1e-9
      continue
    bound = 10 * backward(case.dtype, case.length)
    assert_close(mine, theirs, bound, name)
