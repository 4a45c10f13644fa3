"""The dtype of what comes out, and of what is computed on the way."""

import re

import jax
import jax.numpy as jnp
import pytest

from lalm.attention import catalogue
from lalm.attention import softmax
from lalm.attention import window


@pytest.mark.parametrize("form", ("parallel", "blockwise", "step"))
def test_the_output_has_the_dtype_of_the_values_not_of_the_cache(form):
  state = softmax.init(2, 2, 6, 5, capacity=64)
  assert state.keys.dtype == jnp.float32
  q, k, v = (jnp.ones((2, 1, 2, w), jnp.bfloat16) for w in (6, 6, 5))
  out, new = getattr(softmax, form)(q, k, v, state=state)
  assert out.dtype == jnp.bfloat16 and new.keys.dtype == jnp.float32


@pytest.mark.parametrize("module", (softmax, window))
def test_a_token_sees_itself_as_its_cache_keeps_it(module):
  state = module.init(1, 2, 6, 5, capacity=9, dtype=jnp.bfloat16)
  q, k, v = (
      jax.random.normal(jax.random.key(w), (1, 1, 2, w)) for w in (6, 6, 5)
  )
  expected = module.parallel(q, k, v, state=state).out
  # Alone, it sees its own value.
  assert jnp.array_equal(expected, v.astype(jnp.bfloat16).astype(v.dtype))
  assert jnp.array_equal(module.step(q, k, v, state=state).out, expected)


@pytest.mark.catalogued
def test_float32_stays_float32_where_float64_is_allowed(mechanism, form):
  with jax.enable_x64(True):
    (q, k, v), gates = catalogue.get(mechanism).inputs(
        jax.random.key(0), length=1 if form == "step" else 40, capacity=40
    )
    if form == "step":
      sizes = q.shape[0], k.shape[-2], k.shape[-1], v.shape[-1]
      state = catalogue.get(mechanism).init(*sizes, capacity=40)
      gates = gates | {"state": state}
    run = catalogue.get(mechanism).forms[form]
    text = str(jax.make_jaxpr(lambda *a: run(*a, **gates))(q, k, v))
  assert not re.search(r"f64\[[^\]]", text)
