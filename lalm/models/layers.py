"""Parts of a layer beside its mixer: norms, networks, order."""

from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.models.sizes import Sizes

_BASE = 10_000.0  # of rotary angles (2104.09864, section 3.2.2)


def norm(sizes: Sizes, name: str) -> nn.Module:
  """Returns the norm of a model, over the last axis."""
  kind = nn.RMSNorm if sizes.norm == "rms" else nn.LayerNorm
  return kind(epsilon=1e-6, dtype=sizes.compute, name=name)


def dense(
    sizes: Sizes, width: int, name: str, depth: int | None = None
) -> nn.Module:
  """Returns a product without a bias.

  Args:
    sizes: of the model.
    width: of what comes out.
    name: of its parameters.
    depth: additions to the residual stream, for a product that makes one: its
      weights start as much smaller as keeps the sum's variance.
  """
  scale = 1.0 / (depth or 1)
  start = nn.initializers.variance_scaling(scale, "fan_in", "normal")
  return nn.Dense(
      width,
      use_bias=False,
      dtype=sizes.compute,
      precision=contract.precision(sizes.dtype),
      kernel_init=start,
      name=name,
  )


class Network(nn.Module):
  """silu(x G) * (x U) W, or gelu(x U) W, on `[B, T, D]`."""

  sizes: Sizes

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    sizes = self.sizes
    y = dense(sizes, sizes.inner, "up")(x)
    if sizes.network == "gated":
      y = nn.silu(dense(sizes, sizes.inner, "gate")(x)) * y
    else:
      y = nn.gelu(y)
    return dense(sizes, sizes.width, "down", 2 * sizes.layers)(y)


class Convolution(nn.Module):
  """A causal product along time with weights of each column.

  Attributes:
    taps: tokens that are mixed, the newest last.
  """

  taps: int

  @nn.compact
  def __call__(
      self,
      x: jax.Array,
      before: jax.Array | None = None,
      segment_ids: jax.Array | None = None,
  ) -> tuple[jax.Array, jax.Array]:
    """Returns the mixed tokens, and the last ones for a later call.

    Args:
      x: `[B, T, W]`.
      before: `[B, taps - 1, W]`, tokens before x; zeros if None.
      segment_ids: `[B, T]`; tokens of other documents are not mixed.
    """
    # It starts near the identity: a layer's own token, and little of others.
    start = nn.initializers.normal(self.taps**-0.5 / 2)
    weights = self.param("weights", start, (self.taps, x.shape[-1]))
    weights = weights.at[-1].add(1.0).astype(x.dtype)
    if before is None:
      before = jnp.zeros((x.shape[0], self.taps - 1, x.shape[-1]), x.dtype)
    wide = jnp.concatenate([before.astype(x.dtype), x], axis=1)
    T = x.shape[1]
    out = jnp.zeros_like(x)
    for i, w in enumerate(weights):
      tap = wide[:, i : i + T] * w
      if segment_ids is not None:
        seen = same_document(segment_ids, self.taps - 1 - i)
        tap = jnp.where(seen[..., None], tap, 0)
      out += tap
    return out, wide[:, T:]


def same_document(segment_ids: jax.Array, back: int) -> jax.Array:
  """Returns whether the token so far back is of a token's document, `[B, T]`.

  Args:
    segment_ids: integers `[B, T]`, non-decreasing.
    back: how many tokens, from 0.
  """
  T = segment_ids.shape[1]
  earlier = jnp.pad(segment_ids, ((0, 0), (back, 0)))[:, :T]
  return (earlier == segment_ids) & (jnp.arange(T) >= back)


def places(segment_ids: jax.Array) -> jax.Array:
  """Returns the place of each token in its document, `[B, T]`.

  Args:
    segment_ids: integers `[B, T]`, non-decreasing.
  """
  here = jnp.arange(segment_ids.shape[1])
  first = ~same_document(segment_ids, 1)
  return here - jax.lax.cummax(jnp.where(first, here, 0), axis=1)


class Turns(NamedTuple):
  """Cosines and sines of rotary angles, `[B or 1, T, 1, K / 2]`."""

  cosines: jax.Array
  sines: jax.Array


def turns(places: jax.Array, width: int) -> Turns:
  """Returns rotary angles (2104.09864, equation 15).

  Args:
    places: of the tokens, `[B or 1, T]`.
    width: K, of a head.
  """
  rates = _BASE ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
  angles = places[..., None, None].astype(jnp.float32) * rates
  return Turns(jnp.cos(angles), jnp.sin(angles))


def sinusoids(places: jax.Array, sizes: Sizes) -> jax.Array:
  """Returns sines, then cosines, of places (1706.03762, section 3.5).

  Args:
    places: of the tokens, `[B or 1, T]`.
    sizes: of the model, `[B or 1, T, D]` of which are returned.
  """
  cosines, sines = turns(places, sizes.width)
  found = jnp.concatenate([sines, cosines], axis=-1)[:, :, 0, : sizes.width]
  return found.astype(sizes.compute)


def turn(x: jax.Array, by: Turns) -> jax.Array:
  """Returns `[B, T, H, K]` with its halves as pairs turned by angles."""
  a, b = jnp.split(x, 2, axis=-1)
  c, s = by  # in float32: angles of far tokens are many
  turned = jnp.concatenate([a * c - b * s, a * s + b * c], axis=-1)
  return turned.astype(x.dtype)


def embed(sizes: Sizes, count: int, name: str) -> Any:
  """Returns a table of vectors of a model's width."""
  start = nn.initializers.normal(0.02)
  return nn.Embed(
      count, sizes.width, dtype=sizes.compute, embedding_init=start, name=name
  )
