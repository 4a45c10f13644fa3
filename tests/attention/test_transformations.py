"""vmap and remat change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import backward
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close

CASES = (
    cases.Case("causal", length=21),
    cases.Case(
        "two halves, packed, grouped heads",
        length=21,
        split=11,
        packed=True,
        heads=4,
        kv_heads=2,
    ),
)


@pytest.mark.leading("two halves, packed, grouped heads")
@pytest.mark.cases(*CASES)
def test_vmap_is_a_loop_over_its_axis(mechanism, form, case):
  bound = forward(case.dtype, case.length)
  with subject.precision(case):
    several = [
        cases.make(mechanism, cases.dataclasses.replace(case, seed=seed))
        for seed in range(3)
    ]
    ids = several[0].segment_ids
    places = [inputs[:2] for inputs in several]
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *places)

    def out(place):
      return subject.apply(mechanism, form, case, (*place, ids))[0]

    together = subject.jit(jax.vmap(out), case)(stacked)
  for got, place in zip(together, places, strict=True):
    assert_close(got, subject.oracle(mechanism, case, (*place, ids)), bound)


@pytest.mark.cases(CASES[0])
def test_vmap_over_queries_alone_shares_the_keys(mechanism, form, case):
  with subject.precision(case):
    (q, k, v), gates, _ = cases.make(mechanism, case)
    queries = np.stack([q, -q, 2 * q])

    def out(q):
      return subject.apply(mechanism, form, case, ((q, k, v), gates, None))[0]

    together = subject.jit(jax.vmap(out), case)(queries)
  for got, each in zip(together, queries, strict=True):
    expected = subject.oracle(mechanism, case, ((each, k, v), gates, None))
    assert_close(got, expected, forward(case.dtype, case.length))


@pytest.mark.cases(cases.DERIVATIVES[0])
def test_remat_and_vmap_of_gradients_keep_them(mechanism, form, case):
  with subject.precision(case):
    arrays, gates, ids = cases.make(mechanism, case)
    weights = subject.cotangent(case)

    def loss(place):
      out = subject.apply(mechanism, form, case, (*place, ids))[0]
      return jnp.sum(out * weights)

    place = (arrays, gates)
    several = jax.tree.map(lambda x: np.stack([x, np.flip(x, 0)]), place)
    run = subject.jit(jax.vmap(jax.grad(jax.checkpoint(loss))), case)
    together = run(several)
    plain = subject.derivatives(mechanism, form, case).gradient
  for got, expected in zip(
      jax.tree.leaves(together), jax.tree.leaves(plain), strict=True
  ):
    assert_close(got[0], expected, backward(case.dtype, case.length))
    assert not np.array_equal(got[0], got[1])
