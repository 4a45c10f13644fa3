"""Mechanisms of one's own, to try `pytest --mechanism` on.

`AVERAGE` is the mean of the values seen; `LEAKY` lets each query see one key
too many, and must fail.
"""

import functools

import jax
import jax.numpy as jnp

from lalm.attention import catalogue


def _average(q, k, v, causal, ahead):
  """Row t is the mean of the values up to t + ahead."""
  t, s = jnp.arange(q.shape[1])[:, None], jnp.arange(k.shape[1])
  seen = (s <= t + ahead) if causal else jnp.ones((len(t), len(s)), bool)
  weights = seen / jnp.sum(seen, axis=1, keepdims=True)
  return jnp.einsum("ts,bshv->bthv", weights, v.astype(weights.dtype))


@functools.partial(jax.jit, static_argnames="causal")
def average(q, k, v, *, causal=True):
  """Means over the tokens seen."""
  return _average(q, k, v, causal, 0).astype(v.dtype)


@functools.partial(jax.jit, static_argnames="causal")
def leaky(q, k, v, *, causal=True):
  """The same with a leak."""
  return _average(q, k, v, causal, 1).astype(v.dtype)


AVERAGE = catalogue.Mechanism(
    name="average", definition=average, forms={"parallel": average}
)
LEAKY = catalogue.Mechanism(
    name="leaky", definition=leaky, forms={"parallel": leaky}
)
