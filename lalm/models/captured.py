"""What a forward pass computes on its way, layer by layer."""

import functools
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.models import sizes as sizes_lib
from lalm.models import transformer
from lalm.models.sizes import Sizes


class Captured(NamedTuple):
  """Activations of a pass over B sequences of T tokens.

  Attributes:
    hidden: the residual stream before each layer and after the last,
      `[L + 1, B, T, D]`.
    q: queries as attention takes them, `[L, B, T, H, K]`.
    k: keys, as q.
    v: values, as q.
    attention: weights of each query (rows) on each key, `[L, B, H, T, T]`; 0
      where a key is not seen.
    inputs: what the matrices of a role multiply, `[L, B, T, in]`; k and v that
      of q, a gate that of mlp_in.
  """

  hidden: jax.Array
  q: jax.Array
  k: jax.Array
  v: jax.Array
  attention: jax.Array
  inputs: dict[str, jax.Array]


def weights(
    q: jax.Array, k: jax.Array, seen: jax.Array | None = None
) -> jax.Array:
  """Returns softmax(q k^T / sqrt(K)), `[B, H, T, S]`.

  Args:
    q: `[B, T, H, K]`.
    k: `[B, S, H, K]`.
    seen: whether a key is seen, bool that broadcasts to `[B, H, T, S]`; each
      query sees one at least.
  """
  scores = jnp.einsum(
      "bthk,bshk->bhts", q, k, precision=contract.precision(q.dtype)
  )
  scores = scores / q.shape[-1] ** 0.5
  if seen is not None:
    scores = jnp.where(seen, scores, -jnp.inf)
  return jax.nn.softmax(scores, axis=-1)


def of_ours(
    parameters: transformer.Parameters, sizes: Sizes, tokens: jax.Array
) -> Captured:
  """Returns what one of our models computes.

  Attention of any mechanism is what its definition makes of values that are
  the unit vectors.

  Args:
    parameters: as `transformer.init` returns them.
    sizes: of the model.
    tokens: as `transformer.forward` takes them, as are the errors raised.

  Raises:
    ValueError: a mixer writes several times a token.
  """
  several = [
      name for name in sizes.mixers if sizes_lib.mixer(name).mechanism.writes
  ]
  if several:
    raise ValueError(
        f"mixers: expected one key and value a token, got {several[0]!r}"
    )
  transformer.check_tokens(tokens, sizes)
  return _of_ours(parameters, sizes, tokens)


@functools.partial(jax.jit, static_argnames="sizes")
def _of_ours(
    parameters: transformer.Parameters, sizes: Sizes, tokens: jax.Array
) -> Captured:
  multiplied: dict[str, list[jax.Array]] = {}

  def heard(call: Any, given: Any, keywords: Any, context: Any) -> Any:
    role = _ROLES.get(context.module.name)
    if isinstance(context.module, nn.Dense) and role:
      multiplied.setdefault(role, []).append(given[0])
    return call(*given, **keywords)

  with nn.intercept_methods(heard):
    _, kept = transformer.Transformer(sizes).apply(
        {"params": parameters}, tokens, mutable=["captured"]
    )
  own: Any = kept["captured"]
  layers = [own[f"mixer_{i}"]["inputs"][0] for i in range(sizes.layers)]
  maps = [
      sizes_lib.mixer(name).mechanism.matrix(q, k, **keywords)
      for name, (q, k, _, keywords) in zip(sizes.mixers, layers, strict=True)
  ]
  q, k, v = (jnp.stack([layer[i] for layer in layers]) for i in range(3))
  inputs = {role: jnp.stack(each) for role, each in multiplied.items()}
  return Captured(jnp.stack(own["hidden"]), q, k, v, jnp.stack(maps), inputs)


# Names of a model's products, and roles as in `weights`.
_ROLES = {"qkv": "q", "out": "o", "up": "mlp_in", "down": "mlp_out"}
