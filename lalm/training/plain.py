"""The same model and step written by hand in plain JAX, to measure against.

It is what a researcher writes for one model: no module, no registry, no option.
It takes the parameters of `transformer.init` for the defaults of `Sizes`
(rotary places, RMS norms, gated networks, tied), with softmax attention as a
whole matrix or linear attention in chunks:

    S_c = sum of phi(k) v^T of the chunks before c,
    out = (phi(q) S_c + (phi(q) phi(k)^T * M) v) / (the same with v = 1)   (1)

(Katharopoulos et al. 2020, arXiv 2006.16236, equations 4 and 9).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lalm.data.batches import Batch

MIXERS = ("softmax", "linear")
_BASE, _EPSILON = 10_000.0, 1e-6
_CHUNK = 128
_FIRST, _SECOND, _SMALL = 0.9, 0.95, 1e-8  # of AdamW


class State(NamedTuple):
  """Steps done, parameters, and the means of gradients and their squares."""

  step: jax.Array
  parameters: Any
  mean: Any
  square: Any


def start(parameters: Any) -> State:
  """Returns the state before the first step."""
  zeros = lambda: jax.tree.map(jnp.zeros_like, parameters)
  return State(jnp.zeros((), jnp.int32), parameters, zeros(), zeros())


def loss(
    parameters: Any, batch: Batch, mixer: str, heads: int, layers: int
) -> jax.Array:
  """Returns nats a token.

  Args:
    parameters: of `transformer.init`.
    batch: whose tokens all count.
    mixer: of `MIXERS`.
    heads: H.
    layers: L.
  """
  logits = forward(parameters, jnp.asarray(batch.tokens), mixer, heads, layers)
  right = jnp.take_along_axis(logits, batch.targets[..., None], axis=-1)
  return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - right[..., 0])


def forward(
    parameters: Any, tokens: jax.Array, mixer: str, heads: int, layers: int
) -> jax.Array:
  """Returns logits `[B, T, vocabulary]`; arguments as of `loss`."""
  attend = _softmax if mixer == "softmax" else _linear
  table = parameters["tokens"]["embedding"]
  x = table[tokens]
  B, T, D = x.shape
  K = D // heads
  rates = _BASE ** (-jnp.arange(0, K, 2, dtype=jnp.float32) / K)
  angles = jnp.arange(T, dtype=jnp.float32)[:, None, None] * rates
  c, s = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
  for i in range(layers):
    own = parameters[f"mixer_{i}"]
    y = _norm(x, parameters[f"mixer_norm_{i}"])
    q, k, v = jnp.split(y @ own["qkv"]["kernel"], 3, axis=-1)
    q, k, v = (z.reshape(B, T, heads, K) for z in (q, k, v))
    out = attend(_turn(q, c, s), _turn(k, c, s), v)
    x = x + out.reshape(B, T, D) @ own["out"]["kernel"]
    own = parameters[f"network_{i}"]
    y = _norm(x, parameters[f"network_norm_{i}"])
    gate, up = y @ own["gate"]["kernel"], y @ own["up"]["kernel"]
    x = x + (jax.nn.silu(gate) * up) @ own["down"]["kernel"]
  return _norm(x, parameters["norm"]) @ table.T


def _norm(x: jax.Array, own: Any) -> jax.Array:
  size = jnp.mean(x * x, axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(size + _EPSILON) * own["scale"]


def _turn(x: jax.Array, c: jax.Array, s: jax.Array) -> jax.Array:
  a, b = jnp.split(x, 2, axis=-1)
  return jnp.concatenate([a * c - b * s, a * s + b * c], axis=-1)


def _softmax(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  T, K = q.shape[1], q.shape[-1]
  scores = jnp.einsum("bthk,bshk->bhts", q, k) / K**0.5
  scores = jnp.where(jnp.tri(T, dtype=bool), scores, -jnp.inf)
  return jnp.einsum("bhts,bshv->bthv", jax.nn.softmax(scores), v)


def _linear(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
  B, T, H, K = q.shape
  size = min(_CHUNK, T)
  pad = (0, -T % size)
  cut = lambda x: jnp.pad(x, ((0, 0), pad, (0, 0), (0, 0))).reshape(
      B, -1, size, H, x.shape[-1]
  )
  v = jnp.concatenate([v, jnp.ones_like(v[..., :1])], axis=-1)
  q, k, v = cut(jax.nn.elu(q) + 1), cut(jax.nn.elu(k) + 1), cut(v)
  # Sums of each chunk, then of all before it.
  state = jnp.einsum("bcshk,bcshv->bchkv", k, v)
  state = jnp.cumsum(state, axis=1) - state
  scores = jnp.einsum("bcthk,bcshk->bchts", q, k)
  scores = jnp.where(jnp.tri(size, dtype=bool), scores, 0)
  out = jnp.einsum("bchts,bcshv->bcthv", scores, v)
  out = out + jnp.einsum("bcthk,bchkv->bcthv", q, state)
  out = out.reshape(B, -1, H, out.shape[-1])[:, :T]
  return out[..., :-1] / out[..., -1:]


def make(
    mixer: str, heads: int, layers: int, rate: float, decay: float, clip: float
) -> Callable[[State, Batch], tuple[State, jax.Array]]:
  """Returns the compiled step of AdamW, which takes its state over.

  Args:
    mixer: of `MIXERS`.
    heads: H.
    layers: L.
    rate: of learning.
    decay: of matrices (Loshchilov and Hutter 2017, arXiv 1711.05101).
    clip: greatest norm of a gradient.
  """

  def step(state: State, batch: Batch) -> tuple[State, jax.Array]:
    value, gradient = jax.value_and_grad(loss)(
        state.parameters, batch, mixer, heads, layers
    )
    squares = [jnp.sum(g * g) for g in jax.tree.leaves(gradient)]
    scale = jnp.minimum(1.0, clip / jnp.sqrt(sum(squares)))
    count = state.step + 1

    def one(p: jax.Array, g: jax.Array, m: jax.Array, s: jax.Array) -> Any:
      g = g * scale
      m = _FIRST * m + (1 - _FIRST) * g
      s = _SECOND * s + (1 - _SECOND) * g * g
      change = m / (1 - _FIRST**count)
      change = change / (jnp.sqrt(s / (1 - _SECOND**count)) + _SMALL)
      if p.ndim > 1:
        change = change + decay * p
      return p - rate * change, m, s

    found = jax.tree.map(one, state.parameters, gradient, *state[2:])
    pick = lambda i: jax.tree.map(
        lambda x: x[i], found, is_leaf=lambda x: isinstance(x, tuple)
    )
    return State(count, pick(0), pick(1), pick(2)), value

  def in_full(state: State, batch: Batch) -> tuple[State, jax.Array]:
    # As the library multiplies: accelerators would take fewer bits.
    with jax.default_matmul_precision("highest"):
      return step(state, batch)

  return jax.jit(in_full, donate_argnums=0)
