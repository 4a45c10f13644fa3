"""Feature maps phi of linear attention, `[..., K]` to `[..., F]`.

A map is a `jax.tree_util.Partial`: its arrays are traced and differentiated,
its code is static. A score phi(q) . phi(k) stands in for exp(q . k).

| map          | phi(x), element-wise  | range  | source               |
|--------------|-----------------------|--------|----------------------|
| elu_plus_one | x + 1 if x > 0, else e^x | > 0 | 2006.16236, eq 7   |
| relu         | max(x, 0)             | >= 0   | 2103.13076           |
| squared_relu | max(x, 0)^2           | >= 0   | 2109.08668           |
| exponential  | e^x / sum of e^x      | (0, 1) | 2402.04347, section 4 |
| identity     | x                     | all    | 2102.11174           |

Sources are arXiv ids.
"""

import jax
import jax.numpy as jnp


def _elu_plus_one(x: jax.Array) -> jax.Array:
  # The inner choice keeps e^x finite, and so its gradient, where x is large.
  return jnp.where(x > 0, x + 1, jnp.exp(jnp.where(x > 0, 0, x)))


def _relu(x: jax.Array) -> jax.Array:
  return jax.nn.relu(x)


def _squared_relu(x: jax.Array) -> jax.Array:
  return jnp.square(jax.nn.relu(x))


def _exponential(x: jax.Array) -> jax.Array:
  # e^x up to a positive factor a token, which keeps it within [0, 1] at any x.
  return jax.nn.softmax(x, axis=-1)


def _identity(x: jax.Array) -> jax.Array:
  return x


elu_plus_one = jax.tree_util.Partial(_elu_plus_one)
relu = jax.tree_util.Partial(_relu)
squared_relu = jax.tree_util.Partial(_squared_relu)
exponential = jax.tree_util.Partial(_exponential)
identity = jax.tree_util.Partial(_identity)


def feature_width(feature_map: jax.tree_util.Partial, width: int) -> int:
  """Returns F, the number of features `feature_map` makes of `width` inputs.

  Raises:
    ValueError: the map does not take `[..., K]` to `[..., F]`.
  """
  x = jax.ShapeDtypeStruct((1, width), jnp.float32)
  y = jax.eval_shape(lambda x: feature_map(x), x)
  if getattr(y, "ndim", None) != 2 or y.shape[0] != 1:
    raise ValueError(
        f"feature_map: expected [..., K] to [..., F], got {(1, width)} to"
        f" {getattr(y, 'shape', y)}"
    )
  return y.shape[1]
