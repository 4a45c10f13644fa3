"""A transformer (Vaswani et al. 2017, arXiv 1706.03762) with mixers of choice.

    x <- x + mix(norm(x)),   x <- x + network(norm(x)),                    (1)
    logits = norm(x) E^T                                                   (2)

for each layer, with norms before (Xiong et al. 2020, arXiv 2002.04745). One
`forward` trains and reads a prompt; `step` reads a token more.
"""

from collections.abc import Mapping
import functools
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import contract
from lalm.models import layers
from lalm.models import mixer
from lalm.models.sizes import Sizes

Parameters = Mapping[str, Any]


class State(NamedTuple):
  """What a model keeps between calls: tokens seen, and each layer's state."""

  place: jax.Array
  layers: tuple[mixer.State, ...]


class Output(NamedTuple):
  """Logits `[B, T, vocabulary]` in float32, and the state after the tokens."""

  logits: jax.Array
  state: State | None


class Transformer(nn.Module):
  """A decoder, or an encoder, of the sizes given."""

  sizes: Sizes

  @nn.compact
  def __call__(
      self,
      tokens: jax.Array,
      state: State | None = None,
      segment_ids: jax.Array | None = None,
  ) -> Output:
    sizes = self.sizes
    embedding = layers.embed(sizes, sizes.vocabulary, "tokens")
    x = embedding(tokens)
    first = jnp.zeros((), jnp.int32) if state is None else state.place
    places = first + jnp.arange(tokens.shape[1])[None]
    if segment_ids is not None:
      places = layers.places(segment_ids)
    if sizes.positions == "learned":
      x = x + layers.embed(sizes, sizes.capacity, "places")(places)
    if sizes.positions == "sinusoidal":
      x = x * sizes.width**0.5 + layers.sinusoids(places, sizes)
    turns = None
    if sizes.positions == "rotary":
      turns = layers.turns(places, sizes.head_width)
    kept: list[Any] = []
    for number, name in enumerate(sizes.mixers):
      self.sow("captured", "hidden", x)  # if that is asked for
      before = None if state is None else state.layers[number]
      mix = mixer.Mixer(sizes, name, name=f"mixer_{number}")
      y = layers.norm(sizes, f"mixer_norm_{number}")(x)
      y, after = mix(y, turns, before, segment_ids)
      x = x + y
      y = layers.norm(sizes, f"network_norm_{number}")(x)
      x = x + layers.Network(sizes, name=f"network_{number}")(y)
      kept.append(after)
    self.sow("captured", "hidden", x)
    x = layers.norm(sizes, "norm")(x)
    logits = self._logits(embedding, x)
    if state is None:
      return Output(logits, None)
    return Output(logits, State(first + tokens.shape[1], tuple(kept)))

  def _logits(self, embedding: nn.Embed, x: jax.Array) -> jax.Array:
    # The sums are not rounded to the dtype of activations.
    if self.sizes.tied:
      table = embedding.embedding
    else:
      start = nn.initializers.lecun_normal(in_axis=1, out_axis=0)
      shape = (self.sizes.vocabulary, self.sizes.width)
      table = self.param("head", start, shape)
    return jnp.einsum(
        "btd,vd->btv",
        x,
        table.astype(x.dtype),
        precision=contract.precision(self.sizes.dtype),
        preferred_element_type=contract.accumulator(x.dtype),
    )


def init(key: jax.Array, sizes: Sizes) -> dict[str, Any]:
  """Returns parameters drawn anew, as dicts of float32 arrays.

  Args:
    key: a `jax.random.key`.
    sizes: of the model.
  """
  # Some mixers have parameters for a length; nothing is computed of it.
  tokens = jnp.zeros((1, sizes.capacity), jnp.int32)
  draw = jax.jit(lambda key: Transformer(sizes).init(key, tokens)["params"])
  return draw(key)


def start(sizes: Sizes, batch: int = 1) -> State:
  """Returns the state before the first token.

  Args:
    sizes: of the model.
    batch: B.

  Raises:
    ValueError: a mixer has no state.
  """
  if not sizes.causal:
    raise ValueError("causal: expected a decoder to go on from, got an encoder")
  kept = tuple(mixer.init(sizes, name, batch) for name in sizes.mixers)
  return State(jnp.zeros((), jnp.int32), kept)


@functools.partial(jax.jit, static_argnames="sizes")
def forward(
    parameters: Parameters,
    sizes: Sizes,
    tokens: jax.Array,
    *,
    state: State | None = None,
    segment_ids: jax.Array | None = None,
) -> Output:
  """Returns logits of the token after each, and the state if one is given.

  Args:
    parameters: as `init` returns them.
    sizes: of the model.
    tokens: integers `[B, T]`, each below the vocabulary.
    state: of the tokens before, or None; with these they are at most the
      capacity, beyond which logits are of no use.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.

  Raises:
    ValueError: tokens or documents of another shape or dtype, more tokens than
      the capacity, or packed documents with a state.
  """
  check_tokens(tokens, sizes)
  if state is not None and segment_ids is not None:
    raise ValueError("segment_ids: expected none with a state, got some")
  if segment_ids is not None:
    shapes.check_integers("segment_ids", segment_ids, tuple(tokens.shape))
  found: Any = Transformer(sizes).apply(
      {"params": parameters}, tokens, state, segment_ids
  )
  return found


def step(
    parameters: Parameters, sizes: Sizes, state: State, token: jax.Array
) -> Output:
  """Returns logits `[B, 1, vocabulary]` after a token more, and the new state.

  Args:
    parameters: as `init` returns them.
    sizes: of the model.
    state: of the tokens before.
    token: integers `[B, 1]`.
  """
  if getattr(token, "ndim", None) != 2 or token.shape[1] != 1:
    got = getattr(token, "shape", type(token))
    raise ValueError(f"token: expected [B, 1], got {got}")
  return forward(parameters, sizes, token, state=state)


def count(parameters: Parameters) -> int:
  """Returns the number of parameters."""
  return sum(x.size for x in jax.tree.leaves(parameters))


def check_tokens(tokens: jax.Array, sizes: Sizes) -> None:
  """Raises ValueError unless a model of these sizes can read the tokens."""
  shape: tuple[int, ...] = getattr(tokens, "shape", ())
  if len(shape) != 2:
    raise ValueError(f"tokens: expected [B, T], got {shape or type(tokens)}")
  shapes.check_integers("tokens", tokens, tuple(shape))
  if not 1 <= shape[1] <= sizes.capacity:
    raise ValueError(
        f"tokens: expected 1 to {sizes.capacity}, the model's capacity, got"
        f" {shape[1]}"
    )
