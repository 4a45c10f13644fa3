"""A small decoder of random weights, with a state a layer or without any.

Per layer attention and a network of two products, each after a normalisation
and added to what came in:

    x <- x + attend(norm(x)) W_o,   x <- x + gelu(norm(x) W_1) W_2         (1)

(Vaswani et al. 2017, arXiv 1706.03762; its layers in Katharopoulos et al. 2020,
arXiv 2006.16236, are of the same sizes). The next token is the likeliest.
"""

import functools
from typing import Any, Callable, Mapping, NamedTuple

import jax
import jax.numpy as jnp

from lalm.attention import catalogue

VOCABULARY = 256
_INNER = 4  # width of a layer's network over the model's

Point = Mapping[str, Any]


class Layer(NamedTuple):
  """Weights of a layer: D x H (2 K + V), H V x D, D x 4 D and 4 D x D."""

  inputs: jax.Array
  output: jax.Array
  up: jax.Array
  down: jax.Array


class Model(NamedTuple):
  """Layers, tables of tokens and of places, and what reads the next token.

  Tokens are `[VOCABULARY, D]`, places `[T, D]`, and `head` is D x VOCABULARY.
  """

  layers: list[Layer]
  tokens: jax.Array
  places: jax.Array
  head: jax.Array


def model(point: Mapping[str, Any]) -> Model:
  """Returns random weights that keep activations of order one.

  Args:
    point: has heads, width, value_width, layers, length and seed.
  """
  D, V = (point["heads"] * point[n] for n in ("width", "value_width"))
  count = 4 * point["layers"] + 3
  keys = iter(jax.random.split(jax.random.key(point["seed"]), count))

  def draw(rows: int, columns: int) -> jax.Array:
    values = jax.random.normal(next(keys), (rows, columns), point["dtype"])
    return values / rows**0.5

  layers = [
      Layer(
          draw(D, 2 * D + V),
          draw(V, D),
          draw(D, _INNER * D),
          draw(_INNER * D, D),
      )
      for _ in range(point["layers"])
  ]
  tokens, places = (
      draw(rows, D) * rows**0.5 for rows in (VOCABULARY, point["length"])
  )
  return Model(layers, tokens, places, draw(D, VOCABULARY))


def _normal(x: jax.Array) -> jax.Array:
  """x without its mean and of variance one, along the last axis."""
  return jax.nn.standardize(x, axis=-1, epsilon=1e-6)


def _layer(
    layer: Layer, x: jax.Array, heads: int, attend: Callable[..., Any]
) -> tuple[jax.Array, Any]:
  """One layer on `[B, T, D]`; what `attend` returns beside its output."""
  D = x.shape[-1]
  q, k, v = jnp.split(_normal(x) @ layer.inputs, [D, 2 * D], axis=-1)
  split = lambda y: y.reshape(*y.shape[:2], heads, -1)
  out, state = attend(split(q), split(k), split(v))
  x = x + out.reshape(v.shape) @ layer.output
  return x + jax.nn.gelu(_normal(x) @ layer.up) @ layer.down, state


@jax.jit
def _likeliest(weights: Model, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """The next token `[B, 1]` after `[B, T, D]`, and all scores of it."""
  scores = _normal(x[:, -1:]) @ weights.head
  return jnp.argmax(scores, axis=-1).astype(jnp.int32), scores


@jax.jit
def _embed(weights: Model, tokens: jax.Array) -> jax.Array:
  return weights.tokens[tokens] + weights.places[: tokens.shape[1]]


def one_layer(point: Point) -> Any:
  """Returns a program (layer, `[B, t, D]`) -> `[B, t, D]`."""
  mechanism = catalogue.get(point["mechanism"])
  attend = mechanism.forms[mechanism.featured[-1]]
  return jax.jit(lambda layer, x: _layer(layer, x, point["heads"], attend)[0])


def stateless(point: Point) -> Any:
  """Returns a function (weights, tokens `[B, t]`) -> (next token, scores).

  Each prefix is a program of its own, and so is each layer: one that holds all
  of them takes longer to compile, hundreds of times, than to run.
  """
  one = one_layer(point)

  def run(weights: Model, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
    x = _embed(weights, tokens)
    for layer in weights.layers:
      x = one(layer, x)
    return _likeliest(weights, x)

  return run


def with_state(point: Point) -> Any:
  """Returns a program of one token: its scores and the next, and new states.

  It is called with the states of the layers, which it takes over, the model,
  the token `[B, 1]` and its place.
  """
  step = catalogue.get(point["mechanism"]).forms["step"]

  @functools.partial(jax.jit, donate_argnums=0)
  def run(
      states: list[Any], weights: Model, token: jax.Array, place: jax.Array
  ) -> tuple[Any, list[Any]]:
    x = weights.tokens[token] + weights.places[place]
    new = []
    for layer, state in zip(weights.layers, states):
      attend = functools.partial(step, state=state)
      x, after = _layer(layer, x, point["heads"], attend)
      new.append(after)
    return _likeliest(weights, x), new

  return run


def states(point: Point) -> list[Any]:
  """The state of every layer before the first token."""
  mechanism = catalogue.get(point["mechanism"])
  sizes = (point[n] for n in ("batch", "heads", "width", "value_width"))
  one = functools.partial(
      mechanism.init, *sizes, capacity=point["length"], dtype=point["dtype"]
  )
  return [one() for _ in range(point["layers"])]
