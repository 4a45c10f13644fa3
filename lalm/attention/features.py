"""Feature maps phi of linear attention, `[..., K]` to `[..., F]`.

A map is a `jax.tree_util.Partial`: its arrays are traced and differentiated,
its code is static. A score is phi(q) . phi(k); some stand in for exp(q . k).

| map          | phi(x), element-wise  | range  | source               |
|--------------|-----------------------|--------|----------------------|
| elu_plus_one | x + 1 if x > 0, else e^x | > 0 | 2006.16236, eq 7   |
| relu         | max(x, 0)             | >= 0   | 2103.13076           |
| squared_relu | max(x, 0)^2           | >= 0   | 2109.08668           |
| exponential  | e^x / sum of e^x      | (0, 1) | 2402.04347, section 4 |
| identity     | x                     | all    | 2102.11174           |
| unit         | x / norm of x, 0 at 0 | [-1, 1] | 2409.18747          |

and taylor, 1, y and y y^T / sqrt(2) of y = x / K^(1/4), so that scores are the
first terms of exp(q . k / sqrt(K)) (2402.18668, equation 4); `dpfp`, `hedgehog`
and `favor` make maps. Sources are arXiv ids.
"""

import functools

import jax
import jax.numpy as jnp

from lalm import shapes


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


def _taylor(x: jax.Array) -> jax.Array:
  y = x * x.shape[-1] ** -0.25
  square = y[..., :, None] * y[..., None, :] * 0.5**0.5
  square = square.reshape(*x.shape[:-1], -1)
  return jnp.concatenate([jnp.ones_like(y[..., :1]), y, square], axis=-1)


def _unit(x: jax.Array) -> jax.Array:
  # The result does not depend on the factor, which keeps squares in range; the
  # inverse of one near the largest number would be flushed to zero.
  most = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=-1, keepdims=True))
  most = jnp.minimum(most, jnp.finfo(x.dtype).max / 8)
  seen = most != 0
  y = x / jnp.where(seen, most, 1)
  square = jnp.sum(y * y, axis=-1, keepdims=True)
  return jnp.where(seen, y * jax.lax.rsqrt(jnp.where(seen, square, 1)), 0)


elu_plus_one = jax.tree_util.Partial(_elu_plus_one)
relu = jax.tree_util.Partial(_relu)
squared_relu = jax.tree_util.Partial(_squared_relu)
exponential = jax.tree_util.Partial(_exponential)
identity = jax.tree_util.Partial(_identity)
unit = jax.tree_util.Partial(_unit)
taylor = jax.tree_util.Partial(_taylor)


def dpfp(nu: int = 1) -> jax.tree_util.Partial:
  """Returns the map r * roll(r, i), i = 1 ... nu, r = (max(x, 0), max(-x, 0)).

  F is 2 K nu (Schlag et al. 2021, arXiv 2102.11174, equation 37). A vector
  whose only feature comes from a number x near 0 has, normalised, an output
  that does not depend on it, and a gradient of rounding errors over x.

  Args:
    nu: how many features each number and its opposite make.
  """
  shapes.check_positive("nu", nu)
  return jax.tree_util.Partial(functools.partial(_dpfp, nu))


def _dpfp(nu: int, x: jax.Array) -> jax.Array:
  r = jax.nn.relu(jnp.concatenate([x, -x], axis=-1))
  rolled = [jnp.roll(r, i, axis=-1) for i in range(1, nu + 1)]
  return jnp.concatenate([r * other for other in rolled], axis=-1)


def hedgehog(weights: jax.Array) -> jax.tree_util.Partial:
  """Returns the map (softmax(x W), softmax(-x W)), F = 2 M.

  Zhang et al. 2024 (arXiv 2402.04347), where W starts as the identity.

  Args:
    weights: W, `[K, M]`, learned.
  """
  shapes.check_array("weights", weights, "KM")
  return jax.tree_util.Partial(_hedgehog, weights)


def _hedgehog(weights: jax.Array, x: jax.Array) -> jax.Array:
  y = _project(x, weights)
  y = jnp.stack([y, -y], axis=-2)
  return jax.nn.softmax(y, axis=-1).reshape(*x.shape[:-1], -1)


def favor(
    key: jax.Array,
    width: int,
    count: int,
    *,
    kind: str = "positive",
    orthogonal: bool = True,
) -> jax.tree_util.Partial:
  """Returns random features whose products are exp(q . k / sqrt(K)) on average.

  FAVOR+ (Choromanski et al. 2020, arXiv 2009.14794, equations 5 and 7). With
  y = x / K^(1/4) and rows w of a random matrix the features are, up to
  factors, exp(w . y - |y|^2 / 2) (positive), also those of -w (hyperbolic),
  or exp(|y|^2 / 2) (cos(w . y), sin(w . y)) (trigonometric).

  Where |y|^2 / 2 is beyond about 80, float32 features are zero (trigonometric:
  infinite), and so are outputs.

  Args:
    key: a `jax.random.key`.
    width: K.
    count: rows w; F is as many, twice as many unless positive.
    kind: "positive", "hyperbolic" or "trigonometric".
    orthogonal: rows of a block of K are at right angles, which lowers the
      variance; else all are independent.

  Raises:
    ValueError: another kind, or width or count below 1.
  """
  shapes.check_positive("width", width)
  shapes.check_positive("count", count)
  if kind not in _FAVOR:
    raise ValueError(f"kind: expected one of {', '.join(_FAVOR)}, got {kind!r}")
  first, second = jax.random.split(key)
  w = jax.random.normal(first, (count, width), jnp.float32)
  if orthogonal:
    blocks = (-(-count // width),)
    turned = jax.random.orthogonal(second, width, blocks, jnp.float32)
    norms = jnp.linalg.norm(w, axis=-1, keepdims=True)
    w = turned.reshape(-1, width)[:count] * norms
  return jax.tree_util.Partial(_FAVOR[kind], w)


def _projected(w: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns w . y and |y|^2 / 2."""
  y = x * x.shape[-1] ** -0.25
  return _project(y, w.T), jnp.sum(y * y, axis=-1, keepdims=True) / 2


def _positive(w: jax.Array, x: jax.Array) -> jax.Array:
  wy, half = _projected(w, x)
  return jnp.exp(wy - half) * len(w) ** -0.5


def _hyperbolic(w: jax.Array, x: jax.Array) -> jax.Array:
  wy, half = _projected(w, x)
  both = jnp.concatenate([wy - half, -wy - half], axis=-1)
  return jnp.exp(both) * (2 * len(w)) ** -0.5


def _trigonometric(w: jax.Array, x: jax.Array) -> jax.Array:
  wy, half = _projected(w, x)
  waves = jnp.concatenate([jnp.cos(wy), jnp.sin(wy)], axis=-1)
  return jnp.exp(half) * waves * len(w) ** -0.5


_FAVOR = {
    "positive": _positive,
    "hyperbolic": _hyperbolic,
    "trigonometric": _trigonometric,
}


def _project(x: jax.Array, weights: jax.Array) -> jax.Array:
  if x.shape[-1] != weights.shape[0]:
    raise ValueError(
        f"feature_map: expected a width of {weights.shape[0]}, for which it was"
        f" made, got {x.shape[-1]}"
    )
  weights = weights.astype(x.dtype)
  return jnp.matmul(x, weights, precision=jax.lax.Precision.HIGHEST)


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
