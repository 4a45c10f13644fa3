"""Feature maps as users write them: closures, any dtype, not defined at 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import linear

pytestmark = pytest.mark.usefixtures("quickly_compiled")

FORMS = ("parallel", "recurrent", "chunkwise")
# Shorter than a chunk, odd, whole chunks.
LENGTHS = (5, 37, pytest.param(64, marks=pytest.mark.slow))


def _inputs(length):
  draw = np.random.default_rng(length).standard_normal
  shapes = [(2, length, 2, 6), (2, length, 2, 6), (2, length, 2, 5)]
  return [jnp.asarray(draw(shape), jnp.float32) for shape in shapes]


def _unit(x):
  """Of norm 1, and NaN at 0."""
  return jnp.abs(x) / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _gradient(form, inputs, loss, wrt):
  call = lambda *arrays: loss(getattr(linear, form), *arrays)
  return jax.jit(jax.grad(call, argnums=wrt))(*inputs)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("form", FORMS[1:])
def test_padding_is_no_token_where_a_map_has_no_value_at_zero(form, length):
  loss = lambda form, q, k, v: form(q, k, v, feature_map=_unit).out.sum()
  inputs = _inputs(length)
  found = _gradient(form, inputs, loss, (0, 1, 2))
  expected = _gradient("parallel", inputs, loss, (0, 1, 2))
  for one, other in zip(found, expected):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("form", "causal"),
    (
        pytest.param("recurrent", True, marks=pytest.mark.slow),
        ("recurrent", False),
        ("chunkwise", True),
        ("chunkwise", False),
    ),
)
def test_what_a_map_closes_over_is_differentiated(form, causal):
  q, k, v = _inputs(37)
  w = jnp.asarray(np.random.default_rng(0).random((6, 9)), jnp.float32)

  def loss(form, w, q):
    phi = lambda x: jax.nn.relu(x @ w) + 0.1
    return (form(q, k, v, feature_map=phi, causal=causal).out ** 2).sum()

  found = _gradient(form, (w, q), loss, (0, 1))
  expected = _gradient("parallel", (w, q), loss, (0, 1))
  for one, other in zip(found, expected):
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
  tangent = jax.jvp(lambda w: loss(getattr(linear, form), w, q), (w,), (w,))[1]
  assert tangent == pytest.approx(float((expected[0] * w).sum()), rel=1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_features_of_another_dtype_are_summed_in_float32(form):
  narrow = lambda x: jax.nn.relu(x).astype(jnp.bfloat16)
  out, state = getattr(linear, form)(*_inputs(37), feature_map=narrow)
  assert out.dtype == state.S.dtype == state.z.dtype == jnp.float32


@pytest.mark.slow
def test_a_gradient_of_mapped_documents_equals_that_of_each():
  q, k, v = _inputs(37)
  stack = jnp.stack([q, 2 * q, -q])
  ids = jnp.cumsum(jax.random.bernoulli(jax.random.key(0), 0.2, (3, 2, 37)), 2)

  def loss(q, ids):
    return linear.chunkwise(q, k, v, segment_ids=ids, causal=False).out.std()

  mapped = jax.grad(lambda q: jax.vmap(loss)(q, ids).sum())(stack)
  each = [jax.grad(loss)(q, i) for q, i in zip(stack, ids)]
  np.testing.assert_allclose(mapped, jnp.stack(each), rtol=1e-3, atol=1e-6)
