"""A layer's mixer: projections, gates and any mechanism of the catalogue.

    y = norm(attend(q, k, v, gates)) W_o,   q, k, v = x W_q, x W_k, x W_v   (1)

where the norm is of each head, and of mechanisms only whose output is not an
average of the values, so that its size follows from the context's length.
"""

import functools
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from lalm.attention import catalogue
from lalm.attention import features
from lalm.models import gates
from lalm.models import layers
from lalm.models import sizes as sizes_lib
from lalm.models.sizes import Sizes


class State(NamedTuple):
  """What a layer keeps: of its mechanism, and tokens of its convolution."""

  attention: Any
  convolution: jax.Array | None


def steps(name: str) -> bool:
  """Whether a mixer goes on token by token from a state.

  Args:
    name: as `sizes.mixer` reads it.
  """
  mechanism = sizes_lib.mixer(name).mechanism
  return mechanism.start is not None and "step" in mechanism.forms


def init(sizes: Sizes, name: str, batch: int) -> State:
  """Returns a layer's state before the first token.

  Raises:
    ValueError: its mechanism has no state.
  """
  mechanism = sizes_lib.mixer(name).mechanism
  if not steps(name):
    raise ValueError(
        "mixers: expected mechanisms with a state, to go on token by token,"
        f" got {name!r}"
    )
  width, dtype = sizes.head_width, sizes.compute
  attention = mechanism.init(
      batch, sizes.heads, width, width, capacity=sizes.capacity, dtype=dtype
  )
  before = None
  if sizes.convolution:
    columns = sizes.width * (1 + 2 * (mechanism.writes or 1))
    before = jnp.zeros((batch, sizes.convolution - 1, columns), dtype)
  return State(attention, before)


class Mixer(nn.Module):
  """(1) on `[B, T, D]`.

  Attributes:
    sizes: of the model.
    named: the mechanism and its form, as `sizes.mixer` reads it.
  """

  sizes: Sizes
  named: str

  @nn.compact
  def __call__(
      self,
      x: jax.Array,
      turns: layers.Turns | None,
      state: State | None = None,
      segment_ids: jax.Array | None = None,
  ) -> tuple[jax.Array, State | None]:
    """Returns what is added to the residual stream, and the state after it.

    Args:
      x: `[B, T, D]`, after the layer's norm.
      turns: rotary angles of its tokens, or None.
      state: of the tokens before, or None.
      segment_ids: `[B, T]`, of packed documents.
    """
    sizes = self.sizes
    mechanism, form = sizes_lib.mixer(self.named)
    before = None if state is None else state.convolution
    q, k, v, after = self._qkv(mechanism, x, before, segment_ids)
    if turns is not None and ordered(mechanism):
      q, k = layers.turn(q, turns), layers.turn(k, turns)
    keywords: dict[str, Any] = gates.given(self, sizes, mechanism, x, k)
    if not sizes.causal:
      keywords["causal"] = False
    if segment_ids is not None:
      keywords["segment_ids"] = segment_ids
    if mechanism.name == "hedgehog":
      keywords["feature_map"] = self._features()
    if state is not None:
      keywords["state"] = state.attention
      form = "step" if x.shape[1] == 1 else form
    self.sow("captured", "inputs", (q, k, v, keywords))  # if that is asked for
    result = mechanism.forms[form](q, k, v, **keywords)
    out: Any = getattr(result, "out", result)
    if not averages(self.named):
      out = nn.RMSNorm(epsilon=1e-6, dtype=sizes.compute, name="norm")(out)
    y = layers.dense(sizes, sizes.width, "out", 2 * sizes.layers)(
        out.reshape(*x.shape[:2], sizes.width)
    )
    kept = None if state is None else State(result.state, after)
    return y, kept

  def _qkv(
      self,
      mechanism: catalogue.Mechanism,
      x: jax.Array,
      before: jax.Array | None,
      segment_ids: jax.Array | None,
  ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array | None]:
    """Queries, keys and values as the mechanism takes them."""
    sizes, r = self.sizes, mechanism.writes or 1
    D, after = sizes.width, None
    y = layers.dense(sizes, D * (1 + 2 * r), "qkv")(x)
    if sizes.convolution:
      convolve = layers.Convolution(sizes.convolution, name="convolution")
      y, after = convolve(y, before, segment_ids)
    q, k, v = jnp.split(y, [D, D + r * D], axis=-1)
    B, T, _ = x.shape
    heads = (sizes.heads, sizes.head_width)
    several = (r,) if mechanism.writes else ()
    split = lambda y: y.reshape(B, T, *several, *heads)
    return q.reshape(B, T, *heads), split(k), split(v), after

  def _features(self) -> Any:
    """Hedgehog's map, whose matrix is learned."""
    start = lambda _: jnp.eye(self.sizes.head_width, dtype=jnp.float32)
    return features.hedgehog(self.param("features", start))


def ordered(mechanism: catalogue.Mechanism) -> bool:
  """Whether positions come from turning q and k, not from a decay.

  Keys of a state that decays, or from which old ones are taken, are told apart
  by their age.
  """
  return mechanism.transition.startswith(("none", "identity")) and (
      "rank" not in mechanism.transition
  )


@functools.cache
def averages(named: str) -> bool:
  """Whether a mechanism's output is an average of the values.

  It is where values of 1 give 1: asked of the definition itself, so that a
  mechanism of one's own need not say it.

  Args:
    named: as `sizes.mixer` reads it.
  """
  mechanism = sizes_lib.mixer(named).mechanism
  causal = {} if mechanism.causal else {"causal": False}
  with jax.ensure_compile_time_eval():
    (q, k, v), drawn = mechanism.inputs(
        jax.random.key(0), length=32, heads=1, width=16
    )
    result = mechanism.definition(q, k, jnp.ones_like(v), **drawn, **causal)
    out: Any = getattr(result, "out", result)
    # Nearly all: some come near it only, or have no feature above zero.
    return bool(jnp.mean(jnp.abs(out - 1) < 0.1) > 0.9)
