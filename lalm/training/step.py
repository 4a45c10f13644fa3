"""One step: gradients of a batch, in parts if asked, and new parameters."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import optax

from lalm.data.batches import Batch
from lalm.models import transformer
from lalm.models.sizes import Sizes
from lalm.training import optimizer as optimizer_lib

# From parameters and a batch to the sum of weighted losses in nats.
Loss = Callable[[Any, Batch], jax.Array]


class State(NamedTuple):
  """What training changes: steps done, parameters, the optimiser's own."""

  step: jax.Array
  parameters: Any
  optimizer: Any


class Metrics(NamedTuple):
  """Of one step: nats a token, norm of the gradient, steps skipped so far."""

  loss: jax.Array
  gradient_norm: jax.Array
  skipped: jax.Array


def start(parameters: Any, optimizer: optax.GradientTransformation) -> State:
  """Returns the state before the first step."""
  return State(jnp.zeros((), jnp.int32), parameters, optimizer.init(parameters))


def cross_entropy(sizes: Sizes) -> Loss:
  """Returns the loss of a model: -log p of each target, times its weight."""

  def loss(parameters: Any, batch: Batch) -> jax.Array:
    logits = transformer.forward(parameters, sizes, batch.tokens).logits
    each = optax.softmax_cross_entropy_with_integer_labels(
        logits, batch.targets
    )
    return jnp.sum(each * batch.weights)

  return loss


def make(
    loss: Loss, optimizer: optax.GradientTransformation, parts: int = 1
) -> Callable[[State, Batch], tuple[State, Metrics]]:
  """Returns the compiled step, which takes its state over.

  Args:
    loss: sum over a batch.
    optimizer: as `optimizer.Optimizer.make` returns it.
    parts: of a batch, whose gradients are added up one after another; it must
      divide the batch.
  """

  @functools.partial(jax.jit, donate_argnums=0)
  def run(state: State, batch: Batch) -> tuple[State, Metrics]:
    total, gradient = _gradient(loss, state.parameters, batch, parts)
    # A batch whose predictions count nothing has a gradient of zero.
    count = jnp.maximum(jnp.sum(batch.weights), 1e-9)
    gradient = jax.tree.map(lambda x: x / count, gradient)
    updates, own = optimizer.update(gradient, state.optimizer, state.parameters)
    parameters = optax.apply_updates(state.parameters, updates)
    metrics = Metrics(
        total / count,
        optax.tree.norm(gradient),
        optimizer_lib.skipped(own),
    )
    return State(state.step + 1, parameters, own), metrics

  return run


def _gradient(
    loss: Loss, parameters: Any, batch: Batch, parts: int
) -> tuple[jax.Array, Any]:
  """The loss's sum over a batch and its gradient."""
  both = jax.value_and_grad(loss)
  if parts == 1:
    return both(parameters, batch)
  size = batch.tokens.shape[0]
  if size % parts:
    raise ValueError(
        f"parts: expected a divisor of the batch, {size}, got {parts}"
    )
  split = jax.tree.map(
      lambda x: x.reshape(parts, size // parts, *x.shape[1:]), batch
  )

  def body(sums: Any, part: Batch) -> tuple[Any, None]:
    return jax.tree.map(jnp.add, sums, both(parameters, part)), None

  zeros = jax.tree.map(jnp.zeros_like, (jnp.zeros(()), parameters))
  return lax.scan(body, zeros, split)[0]
