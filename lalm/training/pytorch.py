"""The same model and step in PyTorch, with its fused attention.

As `plain`: parameters of `transformer.init` for the defaults of `Sizes`, with
softmax attention by `scaled_dot_product_attention`.
"""

from collections.abc import Callable
from typing import Any, Mapping

import jax
import numpy as np

from lalm.data.batches import Batch

MIXERS = ("softmax",)
_BASE, _EPSILON = 10_000.0, 1e-6
_MOMENTA = (0.9, 0.95)


class Model:
  """Parameters as tensors, and what is computed of them.

  Args:
    parameters: of `transformer.init`.
    heads: H.
    layers: L.
    length: T, of every batch.
  """

  def __init__(
      self, parameters: Any, heads: int, layers: int, length: int
  ) -> None:
    import torch

    leaves = jax.tree.map(
        lambda x: torch.from_numpy(np.array(x)).requires_grad_(True), parameters
    )
    self._own: Mapping[str, Any] = leaves
    self._heads, self._layers = heads, layers
    width = leaves["tokens"]["embedding"].shape[1] // heads
    kind = leaves["tokens"]["embedding"].dtype
    rates = _BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
    self._turns = angles.cos().to(kind), angles.sin().to(kind)

  @property
  def leaves(self) -> list[Any]:
    """Its parameters in the order of JAX's leaves."""
    return jax.tree.leaves(self._own)

  def loss(self, tokens: Any, targets: Any) -> Any:
    """Returns nats a token."""
    from torch.nn import functional

    logits = self._forward(tokens)
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten())

  def _forward(self, tokens: Any) -> Any:
    from torch.nn import functional

    table = self._own["tokens"]["embedding"]
    x = functional.embedding(tokens, table)
    for i in range(self._layers):
      mixer, network = self._own[f"mixer_{i}"], self._own[f"network_{i}"]
      x = x + self._mix(self._norm(x, f"mixer_norm_{i}"), mixer)
      y = self._norm(x, f"network_norm_{i}")
      gate, up = y @ network["gate"]["kernel"], y @ network["up"]["kernel"]
      x = x + (functional.silu(gate) * up) @ network["down"]["kernel"]
    return self._norm(x, "norm") @ table.T

  def _mix(self, y: Any, own: Mapping[str, Any]) -> Any:
    from torch.nn import functional

    split = (*y.shape[:2], self._heads, -1)
    q, k, v = (y @ own["qkv"]["kernel"]).chunk(3, dim=-1)
    q, k, v = (z.view(split).transpose(1, 2) for z in (q, k, v))
    out = functional.scaled_dot_product_attention(
        self._turn(q), self._turn(k), v, is_causal=True
    )
    return out.transpose(1, 2).reshape(y.shape) @ own["out"]["kernel"]

  def _turn(self, x: Any) -> Any:
    import torch

    a, b = x.chunk(2, dim=-1)
    c, s = self._turns
    return torch.cat([a * c - b * s, a * s + b * c], dim=-1)

  def _norm(self, x: Any, name: str) -> Any:
    from torch.nn import functional

    scale = self._own[name]["scale"]
    return functional.rms_norm(x, scale.shape, scale, eps=_EPSILON)


def tensors(batch: Batch) -> tuple[Any, Any]:
  """Returns tokens and targets of a batch."""
  import torch

  tokens, targets = (torch.from_numpy(np.array(x, np.int64)) for x in batch[:2])
  return tokens, targets


def gradients(model: Model, batch: Batch) -> list[np.ndarray]:
  """Returns the gradient of a batch's loss, leaf by leaf."""
  model.loss(*tensors(batch)).backward()
  return [x.grad.numpy() for x in model.leaves]


def make(
    model: Model, batch: Batch, rate: float, decay: float, clip: float
) -> Callable[[], float]:
  """Returns a step of AdamW on a batch, which returns the loss before it.

  Args:
    model: whose parameters it changes.
    batch: the same at each step.
    rate: as the arguments after it, of `plain.make`.
    decay: of matrices.
    clip: greatest norm of a gradient.
  """
  import torch

  tokens, targets = tensors(batch)
  groups: list[dict[str, Any]] = [
      {"params": [x for x in model.leaves if x.ndim > 1]},
      {"params": [x for x in model.leaves if x.ndim <= 1], "weight_decay": 0.0},
  ]
  optimizer = torch.optim.AdamW(
      groups, rate, _MOMENTA, weight_decay=decay, fused=True
  )

  def step() -> float:
    optimizer.zero_grad(set_to_none=True)
    value = model.loss(tokens, targets)
    value.backward()
    torch.nn.utils.clip_grad_norm_(model.leaves, clip)
    optimizer.step()
    return float(value.detach())

  return step
