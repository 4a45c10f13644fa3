"""A model reads at once what it reads token by token, and nothing before it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.models import layers
from lalm.models import mixer
from lalm.models import sizes as sizes_lib
from lalm.models import transformer
from tests.models import conftest as small

pytestmark = pytest.mark.usefixtures("quickly_compiled")

# A cache, a ring, sums, features that are learned, a decay, several writes.
_QUICK = (
    "softmax",
    "window",
    "linear",
    "hedgehog",
    "gla",
    "deltaproduct",
)
_VARIANTS = {
    "sinusoidal, layer, gelu": dict(
        positions="sinusoidal", norm="layer", network="gelu"
    ),
    "learned": dict(positions="learned"),
    "convolution, untied": dict(convolution=3, tied=False),
    "no positions": dict(positions="none"),
}


def _close(got, expected, bound=2e-5):
  np.testing.assert_allclose(got, expected, atol=bound, rtol=0)


def _by_steps(parameters, model, tokens):
  state, logits = transformer.start(model, tokens.shape[0]), []
  for t in range(tokens.shape[1]):
    token = tokens[:, t : t + 1]
    out, state = transformer.step(parameters, model, state, token)
    logits.append(out)
  return jnp.concatenate(logits, axis=1), state


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
        for name in small.recurrent()
    ],
)
def test_steps_are_the_whole_for_every_mechanism(name, tokens):
  model = small.sizes(name, convolution=2)
  parameters = small.parameters(model)
  whole = transformer.forward(parameters, model, tokens).logits
  assert whole.shape == (*tokens.shape, small.VOCABULARY)
  stepped, state = _by_steps(parameters, model, tokens)
  _close(stepped, whole)
  assert int(state.place) == tokens.shape[1]


@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(name, marks=pytest.mark.slow if number else ())
        for number, name in enumerate(_VARIANTS)
    ],
)
def test_steps_are_the_whole_for_every_kind_of_model(variant, tokens):
  model = small.sizes("softmax", "linear", **_VARIANTS[variant])
  parameters = small.parameters(model)
  whole = transformer.forward(parameters, model, tokens).logits
  _close(_by_steps(parameters, model, tokens)[0], whole)


def test_a_prompt_and_what_follows_are_the_whole(tokens):
  model = small.sizes("linear", "softmax", convolution=4)
  parameters = small.parameters(model)
  whole = transformer.forward(parameters, model, tokens).logits
  first = transformer.forward(
      parameters, model, tokens[:, :5], state=transformer.start(model, 2)
  )
  second = transformer.forward(
      parameters, model, tokens[:, 5:], state=first.state
  )
  _close(jnp.concatenate([first.logits, second.logits], axis=1), whole)


@pytest.mark.parametrize(
    "name",
    [
        name if name == "linear" else pytest.param(name, marks=pytest.mark.slow)
        for name in catalogue.names()
        if catalogue.get(name).causal
    ],
)
def test_gradients_reach_no_later_token(name):
  model = small.sizes(name, "softmax", convolution=3, tied=False)
  parameters = small.parameters(model)
  # Every token is another, so that a row of the table is a place.
  tokens = jnp.arange(small.LENGTH)[None]

  def logit(table, t):
    changed = parameters | {"tokens": {"embedding": table}}
    return transformer.forward(changed, model, tokens).logits[0, t].sum()

  gradient = jax.jit(jax.grad(logit))
  for t in (0, 4, small.LENGTH - 1):
    rows = gradient(parameters["tokens"]["embedding"], t)[: small.LENGTH]
    assert np.all(np.asarray(rows[t + 1 :]) == 0)
    assert np.all(np.abs(rows[: t + 1]).max(axis=1) > 0)


def test_an_encoder_sees_later_tokens(tokens):
  model = small.sizes("softmax", "linformer", "nystromformer", causal=False)
  parameters = small.parameters(model)
  changed = tokens.at[:, -1].add(1) % small.VOCABULARY
  a, b = (
      transformer.forward(parameters, model, x).logits
      for x in (tokens, changed)
  )
  assert np.all(np.abs(a - b)[:, 0].max(axis=-1) > 1e-6)


@pytest.mark.parametrize(
    "positions", (pytest.param("rotary", marks=pytest.mark.slow), "learned")
)
def test_packed_documents_are_those_alone(positions, tokens):
  model = small.sizes("linear", "softmax", positions=positions, convolution=3)
  parameters = small.parameters(model)
  ids = jnp.asarray([[0] * 5 + [1] * 7] * 2)
  packed = transformer.forward(parameters, model, tokens, segment_ids=ids)
  alone = transformer.forward(parameters, model, tokens[:, 5:])
  _close(packed.logits[:, 5:], alone.logits)


@pytest.mark.parametrize("name", ("softmax", "linear"))
def test_turning_all_places_alike_changes_nothing(name, tokens):
  """Rotary angles tell distances: a later start has the same logits."""
  model = small.sizes(name)
  parameters = small.parameters(model)
  start = transformer.start(model, 2)
  bound = 2e-5
  if name == "linear":
    # Its scores are of features of what is turned, not of what is turned.
    with pytest.raises(AssertionError):
      _compare_starts(parameters, model, tokens, start, bound)
  else:
    _compare_starts(parameters, model, tokens, start, bound)


def _compare_starts(parameters, model, tokens, start, bound):
  early, late = (
      transformer.forward(
          parameters, model, tokens[:, :8], state=start._replace(place=place)
      ).logits
      for place in (jnp.int32(0), jnp.int32(3))
  )
  _close(early, late, bound)


def test_sines_are_of_places_and_products_of_distances():
  model = small.sizes("softmax", positions="sinusoidal", width=10)
  found = layers.sinusoids(jnp.arange(7)[None], model)[0]
  assert found.shape == (7, 10)
  np.testing.assert_allclose(found[:, 0], np.sin(np.arange(7)), atol=1e-6)
  np.testing.assert_allclose(found[:, 5], np.cos(np.arange(7)), atol=1e-6)
  slowest = np.arange(7) * 1e4 ** (-8 / 10)
  np.testing.assert_allclose(found[:, 4], np.sin(slowest), atol=1e-6)
  products = found @ found.T
  for distance in range(1, 7):
    each = np.diagonal(products, distance)
    np.testing.assert_allclose(each, each[0], atol=1e-5)
  odd = small.sizes("softmax", positions="sinusoidal", width=5, heads=1)
  assert layers.sinusoids(jnp.arange(7)[None], odd).shape == (1, 7, 5)


def test_order_matters_to_softmax_only_with_positions():
  tokens = jnp.asarray([[1, 2, 3, 4, 5]])
  swapped = jnp.asarray([[2, 1, 3, 4, 5]])
  for positions, differs in (("none", False), ("rotary", True)):
    model = small.sizes("softmax", positions=positions)
    parameters = small.parameters(model)
    a, b = (
        transformer.forward(parameters, model, x).logits[:, -1]
        for x in (tokens, swapped)
    )
    assert (float(jnp.max(jnp.abs(a - b))) > 1e-5) == differs


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in _QUICK else pytest.mark.slow)
        for name in catalogue.names()
    ],
)
def test_outputs_that_are_averages_are_known(name):
  known = ("softmax", "linear", "performer", "based", "dpfp", "hedgehog")
  known += ("window", "lsh", "nystromformer")
  assert mixer.averages(name) == (name in known)


def test_a_decay_is_order_enough():
  ordered = [n for n in catalogue.names() if mixer.ordered(catalogue.get(n))]
  assert ordered == [
      *("softmax", "linear", "performer", "based", "dpfp", "hedgehog"),
      *("cosine", "window", "lsh", "linformer", "nystromformer"),
  ]


def test_parameters_are_plain_dicts_of_float32_and_counted():
  model = small.sizes("softmax", network="gelu")
  parameters = small.parameters(model)
  nodes = [parameters]
  while nodes:
    node = nodes.pop()
    assert type(node) is dict
    nodes += [x for x in node.values() if not isinstance(x, jax.Array)]
  assert {x.dtype for x in jax.tree.leaves(parameters)} == {jnp.float32.dtype}
  D = 16
  # q, k, v and output; a network of 4 D; three norms; the table.
  expected = 4 * D * D + 8 * D * D + 3 * D + small.VOCABULARY * D
  assert transformer.count(parameters) == expected


def test_a_gated_network_has_the_size_of_one_that_is_not():
  width = 192
  plain = 2 * 4 * width
  gated = small.sizes("softmax", width=width).inner * 3
  assert abs(gated / plain - 1) < 0.05


def test_activations_may_be_of_16_bits(tokens):
  model = small.sizes("linear", "softmax", dtype="bfloat16")
  wide = small.sizes("linear", "softmax")
  parameters = small.parameters(wide)
  half = transformer.forward(parameters, model, tokens).logits
  full = transformer.forward(parameters, wide, tokens).logits
  assert half.dtype == jnp.float32
  error = float(jnp.max(jnp.abs(half - full)))
  assert 1e-5 < error < 0.05 * float(jnp.max(jnp.abs(full)))


@pytest.mark.slow
def test_forms_may_be_chosen(tokens):
  parameters = small.parameters(small.sizes("softmax", "linear"))
  a, b = (
      transformer.forward(parameters, small.sizes(*mixers), tokens).logits
      for mixers in (
          ("softmax.parallel", "linear.recurrent"),
          ("softmax.blockwise", "linear.chunkwise"),
      )
  )
  _close(a, b)


def test_a_mechanism_of_ones_own_is_a_mixer(tokens):
  model = small.sizes("tests.attention.own_mechanism:AVERAGE")
  parameters = small.parameters(model)
  assert transformer.forward(parameters, model, tokens).logits.shape


@pytest.mark.parametrize(
    "fields, message",
    (
        (dict(mixers=()), "mixers: expected a name for each layer"),
        (dict(mixers="softmax"), "mixers: expected a name for each layer"),
        (dict(mixers=("none",)), "mechanism: expected one of"),
        (dict(mixers=("linear.blockwise",)), "form of linear: expected one of"),
        (dict(mixers=("linear.step",)), "form of linear: expected one of"),
        (dict(mixers=("linformer",)), "can be causal, got 'linformer'"),
        (dict(mixers=("gla",), causal=False), "can be full, got 'gla'"),
        (dict(heads=3), "heads: expected a divisor of the width 16"),
        (dict(width=6, heads=2), "positions: expected other than rotary"),
        (dict(positions="sines"), "positions: expected one of"),
        (dict(norm="batch"), "norm: expected one of"),
        (dict(network="deep"), "network: expected one of"),
        (dict(dtype="int8"), "dtype: expected one of"),
        (dict(vocabulary=0), "vocabulary: expected an integer"),
        (dict(causal=False, convolution=3), "convolution: expected 0"),
        (dict(causal="no"), "causal: expected one of True, False, got 'no'"),
        (dict(tied=[1]), "tied: expected one of True, False"),
        (dict(norm=["rms"]), "norm: expected one of"),
    ),
)
def test_sizes_that_no_model_has_are_refused(fields, message):
  given = dict(vocabulary=13, capacity=12, mixers=("softmax",))
  given |= dict(width=16, heads=2) | fields
  with pytest.raises(ValueError, match=message):
    sizes_lib.Sizes(**given)


def test_sizes_are_read_as_they_are_written():
  model = small.sizes("softmax", "linear", convolution=3)
  assert sizes_lib.of(model.plain()) == model
  with pytest.raises(ValueError, match="expected fields among.*got 'depth'"):
    sizes_lib.of(model.plain() | {"depth": 3})


@pytest.mark.parametrize(
    "tokens, message",
    (
        (jnp.zeros(5, jnp.int32), r"tokens: expected \[B, T\]"),
        (jnp.zeros((1, 5)), "tokens: expected an integer dtype"),
        (
            jnp.zeros((1, 13), jnp.int32),
            "1 to 12, the model's capacity, got 13",
        ),
        (jnp.zeros((1, 0), jnp.int32), "1 to 12, the model's capacity, got 0"),
    ),
)
def test_tokens_that_cannot_be_read_are_refused(tokens, message):
  model = small.sizes("softmax")
  with pytest.raises(ValueError, match=message):
    transformer.forward(small.parameters(model), model, tokens)


@pytest.mark.parametrize("name", ("lsh", "linformer"))
def test_without_a_state_no_token_follows(name):
  model = small.sizes(name, causal=name == "lsh")
  with pytest.raises(ValueError, match="expected"):
    transformer.start(model)


def test_packed_documents_have_no_state(tokens):
  model = small.sizes("softmax")
  with pytest.raises(ValueError, match="segment_ids: expected none"):
    transformer.forward(
        small.parameters(model),
        model,
        tokens,
        state=transformer.start(model, 2),
        segment_ids=jnp.zeros_like(tokens),
    )


@pytest.mark.parametrize("shape, kind", (((2, 3), int), ((1, 8), int),
                                         ((2, 8), float)))  # fmt: skip
def test_documents_are_of_the_tokens(shape, kind):
  model = small.sizes("softmax")
  with pytest.raises(ValueError, match="segment_ids: expected"):
    transformer.forward(
        small.parameters(model),
        model,
        jnp.zeros((2, 8), jnp.int32),
        segment_ids=jnp.zeros(shape, kind),
    )


def test_a_step_is_of_one_token(tokens):
  model = small.sizes("softmax")
  with pytest.raises(ValueError, match=r"token: expected \[B, 1\]"):
    transformer.step(
        small.parameters(model), model, transformer.start(model, 2), tokens
    )
