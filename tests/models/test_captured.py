"""What one of our models computes on its way is what it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.models import captured
from lalm.models import transformer
from tests.models import conftest as small

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "mixers", (("softmax", "linear"), ("gla",), ("window", "softmax"))
)
def test_the_maps_make_what_the_layers_make(mixers, tokens):
  model = small.sizes(*mixers)
  parameters = small.parameters(model)
  found = captured.of_ours(parameters, model, tokens)
  B, T = tokens.shape
  L, H, K = len(mixers), model.heads, model.head_width
  assert found.hidden.shape == (L + 1, B, T, model.width)
  assert found.q.shape == found.k.shape == found.v.shape == (L, B, T, H, K)
  moved = jnp.einsum("lbhts,lbshk->lbthk", found.attention, found.v)
  # What the output's product multiplies, before the norm of heads if any.
  own = found.inputs["o"].reshape(moved.shape)
  for layer, name in enumerate(mixers):
    out = moved[layer]
    if name == "gla":
      scale = jnp.sqrt(jnp.mean(out**2, -1, keepdims=True) + 1e-6)
      out = out / scale * parameters[f"mixer_{layer}"]["norm"]["scale"]
    np.testing.assert_allclose(own[layer], out, rtol=1e-4, atol=1e-5)
  future = np.triu(np.ones((T, T), bool), 1)
  assert not np.asarray(found.attention)[..., future].any()


def test_the_stream_ends_in_the_logits(tokens):
  model = small.sizes("softmax", "softmax")
  parameters = small.parameters(model)
  found = captured.of_ours(parameters, model, tokens)
  last = found.hidden[-1]
  scale = parameters["norm"]["scale"]
  last = last / jnp.sqrt(jnp.mean(last**2, -1, keepdims=True) + 1e-6) * scale
  logits = last @ parameters["tokens"]["embedding"].T
  expected = transformer.forward(parameters, model, tokens).logits
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(
      found.hidden[0], parameters["tokens"]["embedding"][tokens]
  )


def test_each_product_has_its_inputs(tokens):
  model = small.sizes("linear", "linear")
  parameters = small.parameters(model)
  found = captured.of_ours(parameters, model, tokens)
  assert set(found.inputs) == {"q", "o", "mlp_in", "mlp_out"}
  values = found.inputs["q"][1] @ parameters["mixer_1"]["qkv"]["kernel"]
  values = values[..., -model.width :].reshape(found.v[1].shape)
  np.testing.assert_allclose(values, found.v[1], rtol=1e-4, atol=1e-5)


def test_what_writes_several_times_a_token_is_refused(tokens):
  model = small.sizes("deltaproduct")
  with pytest.raises(ValueError, match="mixers: expected one key and value"):
    captured.of_ours(small.parameters(model), model, tokens)


def test_weights_see_what_they_may():
  q, k = jax.random.normal(jax.random.key(0), (2, 1, 5, 2, 4))
  seen = jnp.tri(5, dtype=bool)
  found = captured.weights(q, k, seen)
  np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-6)
  assert (found[..., ~np.asarray(seen)] == 0).all()
