"""A small mechanism that stands in for the catalogue's in these tests."""

import dataclasses
from typing import Any, Callable, Mapping, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def parallel(q, k, v, *, causal=True):
  """Softmax attention by its definition: [B, T, H, V] and no state."""
  group = q.shape[2] // k.shape[2]
  k, v = (jnp.repeat(array, group, axis=2) for array in (k, v))
  logits = jnp.einsum("bthk,bshk->bhts", q, k) * q.shape[-1] ** -0.5
  logits = logits.astype(jnp.promote_types(q.dtype, jnp.float32))
  if causal:
    seen = jnp.tril(jnp.ones(logits.shape[-2:], bool))
    logits = jnp.where(seen, logits, -jnp.inf)
  weights = jax.nn.softmax(logits).astype(v.dtype)
  return jnp.einsum("bhts,bshv->bthv", weights, v), None


def reference(q, k, v, rows, *, causal):
  """Rows of one head in float64."""
  logits = q[rows] @ k.T / np.sqrt(q.shape[-1])
  if causal:
    logits = np.where(np.arange(len(k)) <= rows[:, None], logits, -np.inf)
  weights = np.exp(logits - logits.max(axis=1, keepdims=True))
  return weights @ v / weights.sum(axis=1, keepdims=True)


class Cost(NamedTuple):
  """A closed form."""

  products: int
  bytes: int


@dataclasses.dataclass(frozen=True)
class Naive:
  """The part of a mechanism that is measured."""

  forms: Mapping[str, Callable[..., Any]]
  reference: Callable[..., np.ndarray] = staticmethod(reference)
  cost: Callable[..., Any] | None = None
  gates: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  layouts: Mapping[str, str] = dataclasses.field(
      default_factory=lambda: {"q": "BTHK", "k": "BTGK", "v": "BTGV"}
  )
  writes: int | None = None
