"""Optimisers by name, with a schedule, clipping and skipping of NaNs."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

NAMES = ("adamw", "radam")
SCHEDULES = ("constant", "cosine", "drop")
_NEVER = 2**30  # steps in a row after which one would be taken all the same


@dataclasses.dataclass(frozen=True)
class Optimizer:
  """How parameters change.

  Attributes:
    name: "adamw" (Loshchilov and Hutter 2017, arXiv 1711.05101) or "radam"
      (Liu et al. 2019, arXiv 1908.03265).
    rate: the greatest learning rate.
    schedule: "constant", "cosine" down to a tenth, or "drop" to a tenth at a
      step.
    steps: of the whole run, which a cosine needs.
    warmup: steps of a linear rise from 0.
    drop: the step at which the rate falls to a tenth.
    decay: of weights that are matrices, a step and unit of rate; of adamw.
    clip: greatest norm of a gradient; 0 is any.
    momentum: decay of the mean of gradients.
    second: decay of the mean of their squares.
  """

  name: str = "adamw"
  rate: float = 1e-3
  schedule: str = "cosine"
  steps: int = 1000
  warmup: int = 0
  drop: int = 0
  decay: float = 0.1
  clip: float = 1.0
  momentum: float = 0.9
  second: float = 0.95

  def __post_init__(self) -> None:
    for field, known in (("name", NAMES), ("schedule", SCHEDULES)):
      if getattr(self, field) not in known:
        raise ValueError(
            f"{field}: expected one of {', '.join(known)}, got"
            f" {getattr(self, field)!r}"
        )
    if not 0 < self.rate < float("inf"):
      raise ValueError(f"rate: expected above 0, got {self.rate}")
    for field in ("clip", "decay"):
      if not 0 <= getattr(self, field) < float("inf"):
        raise ValueError(
            f"{field}: expected 0 or more, got {getattr(self, field)}"
        )
    for field in ("momentum", "second"):
      if not 0 <= getattr(self, field) < 1:
        raise ValueError(
            f"{field}: expected 0 or more, below 1, got {getattr(self, field)}"
        )
    if self.steps < 1:
      raise ValueError(f"steps: expected 1 or more, got {self.steps}")
    if not 0 <= self.warmup < self.steps:
      raise ValueError(
          f"warmup: expected 0 to {self.steps - 1}, got {self.warmup}"
      )
    if self.schedule != "drop" and self.drop:
      raise ValueError(
          f"drop: expected 0 for the schedule {self.schedule}, got {self.drop}"
      )
    if self.schedule == "drop" and not self.warmup < self.drop < self.steps:
      raise ValueError(
          f"drop: expected a step from {self.warmup + 1} to {self.steps - 1},"
          f" after the warmup and before the end, got {self.drop}"
      )

  def rates(self) -> optax.Schedule:
    """Returns step -> learning rate."""
    if self.schedule == "cosine":
      after: Any = optax.cosine_decay_schedule(
          self.rate, self.steps - self.warmup, alpha=0.1
      )
    elif self.schedule == "drop":
      after = optax.piecewise_constant_schedule(
          self.rate, {self.drop - self.warmup: 0.1}
      )
    else:
      after = optax.constant_schedule(self.rate)
    if not self.warmup:
      return after
    rise = optax.linear_schedule(0.0, self.rate, self.warmup)
    return optax.join_schedules([rise, after], [self.warmup])

  def make(self) -> optax.GradientTransformation:
    """Returns the transformation; a gradient that is not finite is skipped."""
    b1, b2 = self.momentum, self.second
    if self.name == "adamw":
      one = optax.adamw(
          self.rates(), b1, b2, weight_decay=self.decay, mask=_matrices
      )
    else:
      one = optax.radam(self.rates(), b1, b2)
    if self.clip:
      one = optax.chain(optax.clip_by_global_norm(self.clip), one)
    return optax.apply_if_finite(one, _NEVER)


def skipped(state: optax.OptState) -> jax.Array:
  """Returns how many steps were skipped, for gradients that are not finite."""
  return jnp.asarray(state.total_notfinite)


def _matrices(parameters: Any) -> Any:
  return jax.tree.map(lambda x: x.ndim > 1, parameters)
