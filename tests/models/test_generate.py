"""Tokens are drawn as asked, in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.models import generate
from lalm.models import transformer
from tests.models import conftest as small

pytestmark = pytest.mark.usefixtures("quickly_compiled")

_LOGITS = jnp.log(jnp.asarray([0.1, 0.4, 0.2, 0.3]))


def _frequencies(choice, count=4000):
  numbers = generate.Choice(*(jnp.float32(x) for x in choice))
  logits = jnp.broadcast_to(_LOGITS, (count, 4))
  drawn = generate.draw(jax.random.key(0), logits, numbers)
  return np.bincount(drawn, minlength=4) / count


@pytest.mark.parametrize(
    "choice, expected",
    (
        (dict(), (0.1, 0.4, 0.2, 0.3)),
        (dict(temperature=0.0), (0, 1, 0, 0)),
        (dict(temperature=0.5), np.square((1, 4, 2, 3)) / 30),
        (dict(top_k=1), (0, 1, 0, 0)),
        (dict(top_k=2), (0, 4 / 7, 0, 3 / 7)),
        (dict(top_k=9), (0.1, 0.4, 0.2, 0.3)),
        (dict(top_p=1e-6), (0, 1, 0, 0)),
        (dict(top_p=0.39), (0, 1, 0, 0)),
        (dict(top_p=0.5), (0, 4 / 7, 0, 3 / 7)),
        (dict(top_p=0.75), (0, 4 / 9, 2 / 9, 3 / 9)),
        (dict(top_k=3, top_p=0.5), (0, 4 / 7, 0, 3 / 7)),
    ),
)
def test_tokens_have_their_probabilities(choice, expected):
  found = _frequencies(generate.Choice(**choice))
  expected = np.asarray(expected, float)
  assert np.all(found[expected == 0] == 0)
  error = np.sqrt(expected * (1 - expected) / 4000)
  assert np.all(np.abs(found - expected) <= 5 * error + 1e-12)


def _model():
  model = small.sizes("linear", "softmax", convolution=3)
  return model, small.parameters(model)


def test_the_likeliest_tokens_are_those_of_the_whole(tokens):
  model, parameters = _model()
  prompt = tokens[:, :4]
  found = generate.generate(
      parameters, model, prompt, 9, jax.random.key(0), generate.GREEDY
  )
  assert found.shape == (2, 9)
  so_far = jnp.zeros_like(tokens).at[:, :4].set(prompt)
  forward = jax.jit(
      lambda tokens: transformer.forward(parameters, model, tokens).logits
  )
  for t in range(4, 13):  # what comes after t changes nothing before it
    logits = forward(so_far)
    likeliest = logits[:, t - 1].argmax(-1)
    np.testing.assert_array_equal(found[:, t - 4], likeliest)
    so_far = so_far.at[:, t].set(likeliest, mode="drop")


def test_it_is_compiled_once(tokens):
  model, parameters = _model()
  before = generate._generate._cache_size()
  for seed, choice in enumerate(
      (generate.Choice(), generate.GREEDY, generate.Choice(0.7, 3, 0.9))
  ):
    generate.generate(
        parameters, model, tokens[:, :3], 5, jax.random.key(seed), choice
    )
  assert generate._generate._cache_size() == before + 1


def test_the_key_decides(tokens):
  model, parameters = _model()
  draw = lambda seed: np.asarray(
      generate.generate(
          parameters, model, tokens[:, :3], 5, jax.random.key(seed)
      )
  )
  np.testing.assert_array_equal(draw(1), draw(1))
  assert (draw(1) != draw(2)).any()
  assert (draw(1)[:, 0] != draw(1)[:, 1]).any()


def test_the_least_likely_of_many_tokens_may_be_drawn():
  """Sums of many probabilities round to 1 before the last of them."""
  count = 200_000
  numbers = generate.Choice(*(jnp.float32(x) for x in generate.Choice()))
  ranked = jnp.broadcast_to(-1e-6 * jnp.arange(count), (64, count))
  found = generate.draw(jax.random.key(0), ranked, numbers)
  assert int(found.max()) > 0.9 * count


@pytest.mark.parametrize("token", (-1, 99))
def test_a_token_of_no_vocabulary_is_refused(token):
  """Its logits would be NaN, and what is drawn of them 0."""
  model, parameters = _model()
  prompt = jnp.array([[1, token]])
  with pytest.raises(ValueError, match=f"prompt: expected.*got {token}"):
    generate.generate(parameters, model, prompt, 2, jax.random.key(0))


@pytest.mark.parametrize("prompt", ([[1, 2]], jnp.zeros((1, 0), jnp.int32)))
def test_a_prompt_of_no_tokens_is_refused(prompt):
  model, parameters = _model()
  with pytest.raises(ValueError, match="prompt: expected"):
    generate.generate(parameters, model, prompt, 2, jax.random.key(0))


@pytest.mark.parametrize(
    "count, choice, message",
    (
        (10, {}, "count: expected at most 9, for 4 tokens before it"),
        (0, {}, "count: expected an integer >= 1"),
        (2, dict(temperature=-1), "temperature: expected 0 or more"),
        (2, dict(temperature=float("nan")), "temperature: expected 0 or more"),
        (2, dict(top_k=-1), "top_k: expected a whole number from 0"),
        (2, dict(top_k=1.5), "top_k: expected a whole number from 0"),
        (2, dict(top_k=float("inf")), "top_k: expected a whole number from 0"),
        (2, dict(top_k=None), "top_k: expected a number, got None"),
        (2, dict(top_p=0.0), "top_p: expected above 0"),
        (2, dict(top_p=1.5), "top_p: expected above 0"),
    ),
)
def test_what_cannot_be_drawn_is_refused(tokens, count, choice, message):
  model, parameters = _model()
  with pytest.raises(ValueError, match=message):
    generate.generate(
        parameters,
        model,
        tokens[:, :4],
        count,
        jax.random.key(0),
        generate.Choice(**choice),
    )
