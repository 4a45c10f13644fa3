"""Named members of the families: what they fix of the gates or features.

Each function takes a form of its family (`gated`, `linear`) and returns the
member's.
"""

from collections.abc import Callable
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm import shapes
from lalm.attention import contract
from lalm.attention import features

DPFP = features.dpfp()


@functools.cache
def performer_features(width: int) -> jax.tree_util.Partial:
  """Returns FAVOR+ with 4 K orthogonal positive features, always the same."""
  with jax.ensure_compile_time_eval():
    return features.favor(jax.random.key(0), width, 4 * width)


@functools.cache
def hedgehog_features(width: int) -> jax.tree_util.Partial:
  """Returns Hedgehog's map before it is trained, W = 1."""
  with jax.ensure_compile_time_eval():
    return features.hedgehog(jnp.eye(width, dtype=jnp.float32))


def in_float64(make: Callable[[int], Any]) -> Callable[[np.ndarray], Any]:
  """Returns the map of features of NumPy arrays in float64.

  Args:
    make: K -> feature map.
  """

  def features_of(x: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
      return np.asarray(make(x.shape[-1])(jnp.asarray(x, jnp.float64)))

  return features_of


def with_features(
    form: contract.Form, make: Callable[[int], Any], normalize: bool
) -> contract.Form:
  """Linear attention whose feature map depends on the width unless it is given.

  Args:
    form: of `linear`.
    make: K -> feature map.
    normalize: what `normalize` is unless it is given.
  """

  @functools.wraps(form)
  def call(
      q: jax.Array, k: jax.Array, v: jax.Array, **gates: Any
  ) -> contract.Result:
    if "feature_map" not in gates:
      shapes.check_array("k", k, "BSGK")
      gates["feature_map"] = make(k.shape[-1])
    return form(q, k, v, **{"normalize": normalize, **gates})

  return call


def retnet(form: contract.Form) -> contract.Form:
  """RetNet (Sun et al. 2023, arXiv 2307.08621): decays 1 - 2^(-5-g) of heads.

  `log_decay` `[G]` may be given instead.
  """

  return _by_head(form, retnet_log_decay)


def retnet_log_decay(heads: int) -> jax.Array:
  """Returns RetNet's log-decays of heads, `[G]`."""
  return jnp.log1p(-jnp.exp2(-5.0 - jnp.arange(heads)))


def lightning(form: contract.Form) -> contract.Form:
  """Lightning attention (Qin et al. 2024, arXiv 2401.04658): ALiBi's slopes.

  Decays are exp(-2^(-8 (g + 1) / G)); `log_decay` `[G]` may be given instead.
  """

  return _by_head(form, lightning_log_decay)


def lightning_log_decay(heads: int) -> jax.Array:
  """Returns the log-decays of heads of Lightning attention, `[G]`."""
  return -jnp.exp2(-8.0 * (1 + jnp.arange(heads)) / heads)


def _by_head(form: contract.Form, decay: Any) -> contract.Form:
  @functools.wraps(form)
  def call(
      q: jax.Array, k: jax.Array, v: jax.Array, **gates: Any
  ) -> contract.Result:
    if gates.get("log_decay") is None:
      shapes.check_qkv(q, k, v)
      gates["log_decay"] = decay(k.shape[2])
    return form(q, k, v, **gates)

  return call


def hgrn2(form: contract.Form) -> contract.Form:
  """HGRN2 (Qin et al. 2024, arXiv 2404.07904): k holds logits of the decay.

  The decay is f = sigmoid(k), the key 1 - f.
  """

  @functools.wraps(form)
  def call(
      q: jax.Array, k: jax.Array, v: jax.Array, **gates: Any
  ) -> contract.Result:
    if gates.get("log_decay") is not None:
      raise ValueError("log_decay: expected none, for k holds it, got one")
    shapes.check_array("k", k, "BTGK")
    k = k.astype(contract.accumulator(k.dtype))
    gates["log_decay"] = jax.nn.log_sigmoid(k)
    return form(q, jax.nn.sigmoid(-k), v, **gates)

  return call
