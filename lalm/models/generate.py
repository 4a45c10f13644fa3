"""Text made token by token: one compiled program, a scan over `step`."""

import functools
import numbers
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from lalm import shapes
from lalm.models import transformer
from lalm.models.sizes import Sizes


class Choice(NamedTuple):
  """How the next token is drawn; numbers, for which nothing is recompiled.

  Attributes:
    temperature: divides logits; 0 takes the likeliest token.
    top_k: only so many of the likeliest tokens; 0 is all.
    top_p: only the likeliest tokens that together have this probability.
  """

  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0


GREEDY = Choice(temperature=0.0)


def generate(
    parameters: transformer.Parameters,
    sizes: Sizes,
    prompt: jax.Array,
    count: int,
    key: jax.Array,
    choice: Choice = Choice(),
) -> jax.Array:
  """Returns tokens that go on from a prompt, `[B, count]`.

  It is compiled once for a shape of the prompt and a count.

  Args:
    parameters: of the model.
    sizes: of the model.
    prompt: integers `[B, T]`, T at least 1.
    count: tokens wanted.
    key: a `jax.random.key`.
    choice: how each is drawn.

  Raises:
    ValueError: a prompt and count that the capacity has no room for, a token
      that is none of the vocabulary, a choice out of range, or a mixer without
      a state.
  """
  shapes.check_positive("count", count)
  _check(choice)
  shape: tuple[int, ...] = getattr(prompt, "shape", ())
  if len(shape) != 2 or 0 in shape:
    got = shape or type(prompt)
    raise ValueError(f"prompt: expected [B, T] with a token, got {got}")
  length = shape[1]
  if length + count - 1 > sizes.capacity:
    raise ValueError(
        f"count: expected at most {sizes.capacity - length + 1}, for"
        f" {length} tokens before it and room for {sizes.capacity}, got {count}"
    )
  if not isinstance(prompt, jax.core.Tracer):
    low, high = int(np.min(prompt)), int(np.max(prompt))
    if low < 0 or high >= sizes.vocabulary:
      raise ValueError(
          f"prompt: expected tokens from 0 to {sizes.vocabulary - 1}, got"
          f" {low if low < 0 else high}"
      )
  drawn = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), choice)
  return _generate(parameters, sizes, prompt, count, key, drawn)


@functools.partial(jax.jit, static_argnums=(1, 3))
def _generate(
    parameters: transformer.Parameters,
    sizes: Sizes,
    prompt: jax.Array,
    count: int,
    key: jax.Array,
    choice: Choice,
) -> jax.Array:
  state = transformer.start(sizes, prompt.shape[0])
  read = transformer.forward(parameters, sizes, prompt, state=state)

  def body(carry, key):
    logits, state = carry
    token = draw(key, logits, choice)[:, None]
    logits, state = transformer.step(parameters, sizes, state, token)
    return (logits[:, -1], state), token[:, 0]

  *early, last = jax.random.split(key, count)
  carry = read.logits[:, -1], read.state
  # The last token is drawn outside: nothing needs to be read of it.
  tokens = jnp.zeros((0, prompt.shape[0]), jnp.int32)
  if early:
    carry, tokens = lax.scan(body, carry, jnp.stack(early))
  final = draw(last, carry[0], choice)
  return jnp.concatenate([tokens, final[None]]).T


def draw(key: jax.Array, logits: jax.Array, choice: Choice) -> jax.Array:
  """Returns a token drawn from each row of logits, int32 `[B]`.

  Args:
    key: a `jax.random.key`.
    logits: `[B, vocabulary]`.
    choice: how it is drawn.
  """
  warmth = jnp.where(choice.temperature > 0, choice.temperature, 1.0)
  # From the likeliest to the least likely: both cuts keep the first ones.
  order = jnp.argsort(-logits, axis=-1)
  ranked = jnp.take_along_axis(logits, order, axis=-1) / warmth
  weights = jax.nn.softmax(ranked, axis=-1)
  before = jnp.cumsum(weights, axis=-1) - weights
  most = jnp.where(choice.top_k > 0, choice.top_k, logits.shape[-1])
  most = jnp.where(choice.temperature > 0, most, 1)
  rank = jnp.arange(logits.shape[-1])
  # Sums of many probabilities may round to 1 before the last of them.
  likely = (before < choice.top_p) | (rank == 0) | (choice.top_p >= 1)
  kept = (rank < most) & likely
  place = jax.random.categorical(key, jnp.where(kept, ranked, -jnp.inf))
  return jnp.take_along_axis(order, place[:, None], axis=-1)[:, 0].astype(
      jnp.int32
  )


def _check(choice: Choice) -> None:
  temperature, top_k, top_p = choice
  for name, x in choice._asdict().items():
    if isinstance(x, bool) or not isinstance(x, numbers.Real):
      raise ValueError(f"{name}: expected a number, got {x!r}")
  if not 0 <= temperature < float("inf"):
    raise ValueError(f"temperature: expected 0 or more, got {temperature}")
  if not (0 <= top_k < float("inf") and int(top_k) == top_k):
    raise ValueError(f"top_k: expected a whole number from 0, got {top_k}")
  if not 0 < top_p <= 1:
    raise ValueError(f"top_p: expected above 0, up to 1, got {top_p}")
