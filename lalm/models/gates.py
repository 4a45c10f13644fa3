"""Gates of a mechanism made of what its layer sees.

A gate with tokens among its axes is a product with x, brought into its range;
one without is a parameter, and an optional one keeps the mechanism's own value.
"""

import math
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from lalm.attention import catalogue
from lalm.attention import local
from lalm.models import layers
from lalm.models.sizes import Sizes

# A decay is sigmoid(y)^(1 / 16) (GLA, Yang et al. 2023, 2312.06635, eq 4).
_SLOWER = 16.0


def given(
    module: nn.Module,
    sizes: Sizes,
    mechanism: catalogue.Mechanism,
    x: jax.Array,
    k: jax.Array,
) -> dict[str, jax.Array]:
  """Returns the gates of a mechanism for `[B, T, D]`.

  Args:
    module: whose parameters they are made of, under its gates' names.
    sizes: of the model.
    mechanism: of the layer.
    x: what the layer sees, after its norm.
    k: keys `[B, T, H, K]`, which are hashed where the gate is buckets.
  """
  extents = {"B": x.shape[0], "T": x.shape[1], "S": x.shape[1]}
  extents |= {"G": sizes.heads, "H": sizes.heads, "K": sizes.head_width}
  extents |= {"V": sizes.head_width, "r": mechanism.writes or 1}
  extents |= dict(mechanism.axes(sizes.capacity)) | {"T": x.shape[1]}
  made = {}
  for name, gate in mechanism.gates.items():
    shape = tuple(extents[axis] for axis in gate.shape)
    if gate.whole:
      made[name] = local.buckets(jax.random.key(0), jax.lax.stop_gradient(k))
    elif "T" in gate.shape:
      made[name] = _of_tokens(module, sizes, name, gate, x, shape)
    elif not (name == "log_decay" and gate.shape == "G"):
      made[name] = _parameter(module, name, gate, shape, x)
  return made


def _of_tokens(
    module: nn.Module,
    sizes: Sizes,
    name: str,
    gate: catalogue.Gate,
    x: jax.Array,
    shape: tuple[int, ...],
) -> jax.Array:
  """A product with x, as wide as the gate, in its range."""
  del module  # the product is a module of its own in the caller's scope
  y = layers.dense(sizes, math.prod(shape[2:]), name)(x)
  y = y.astype(jnp.promote_types(y.dtype, jnp.float32)).reshape(shape)
  return squashed(y, gate).astype(x.dtype)


def squashed(y: jax.Array, gate: catalogue.Gate) -> jax.Array:
  """Returns numbers of any size brought into a gate's range, smoothly.

  Raises:
    ValueError: a range with one end that is neither 0 nor infinite.
  """
  low, high = gate.low, gate.high
  if math.isfinite(low) and math.isfinite(high):
    return low + (high - low) * nn.sigmoid(y)
  if (low, high) == (-math.inf, 0.0):
    return nn.log_sigmoid(y) / _SLOWER
  if (low, high) == (0.0, math.inf):
    return nn.softplus(y)
  if (low, high) == (-math.inf, math.inf):
    return y
  raise ValueError(f"gate: expected a range about 0, got {(low, high)}")


def _parameter(
    module: Any,
    name: str,
    gate: catalogue.Gate,
    shape: tuple[int, ...],
    x: jax.Array,
) -> jax.Array:
  """A parameter that starts at the gate's neutral value, or mixes all alike."""
  if gate.shape[-1] != "S":
    start = nn.initializers.constant(gate.neutral)
    return module.param(name, start, shape).astype(x.dtype)
  # A mix of S keys: for a shorter sequence the first columns of it.
  start = nn.initializers.normal(shape[-1] ** -0.5)
  return module.param(name, start, shape)[:, : x.shape[1]].astype(x.dtype)
