"""Attention as other libraries have it, called as this library's forms are.

Works are names of the catalogue. A JAX library's form takes `[B, T, H, D]` and
the mechanism's gates by their names here; one of a PyTorch library the same as
tensors `[B, H, T, ...]`. What the library leaves to its caller and the work
asks for (a feature map, a normaliser, keys of unit length) is done in the form.
"""

from collections.abc import Callable
import functools
import importlib
import importlib.util
from typing import Any

import jax
import jax.numpy as jnp

from lalm.attention import features
from lalm.attention import tuning

OURS = "lalm"
# Library -> the module that must import, and whether it is PyTorch's.
_MODULES = {
    OURS: ("jax", False),
    "torch": ("torch", True),
    "jax.nn": ("jax", False),
    "cudnn": ("jax", False),
    "jla": ("jla", False),
    "fla": ("fla", True),
}
_CHUNK = 128  # of the loop in PyTorch: the fastest of 64, 128 and 256


def _jax_nn(q: Any, k: Any, v: Any, *, causal: bool = True) -> jax.Array:
  return jax.nn.dot_product_attention(q, k, v, is_causal=causal)


def _cudnn(q: Any, k: Any, v: Any, *, causal: bool = True) -> jax.Array:
  """NVIDIA's fused attention, of 16-bit inputs."""
  return jax.nn.dot_product_attention(
      q, k, v, is_causal=causal, implementation="cudnn"
  )


def _torch_sdpa(q: Any, k: Any, v: Any, *, causal: bool = True) -> Any:
  """PyTorch's fused attention."""
  from torch.nn import functional

  return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def _torch_chunks(q: Any, k: Any, v: Any, *, causal: bool = True) -> Any:
  """A loop over chunks as one writes it in PyTorch, sums in float32.

  `torch.split`, because slicing inside the loop makes its backward quadratic.
  """
  import torch

  elu = torch.nn.functional.elu
  q, k = elu(q) + 1, elu(k) + 1
  if not causal:
    state, total = k.transpose(-1, -2) @ v, k.sum(2)[..., None]
    return (q @ state) / (q @ total)
  wide = torch.promote_types(q.dtype, torch.float32)
  zeros = functools.partial(q.new_zeros, dtype=wide)
  state = zeros((*q.shape[:2], q.shape[-1], v.shape[-1]))
  total = zeros((*q.shape[:2], q.shape[-1], 1))
  size = min(_CHUNK, q.shape[2])
  mask = torch.tril(q.new_ones((size, size)))
  outs = []
  for q_c, k_c, v_c in zip(*(torch.split(x, size, 2) for x in (q, k, v))):
    length = q_c.shape[2]
    scores = (q_c @ k_c.transpose(-1, -2)) * mask[:length, :length]
    below = scores.sum(-1, keepdim=True) + q_c @ total.to(q.dtype)
    outs.append((scores @ v_c + q_c @ state.to(q.dtype)) / below)
    state = state + k_c.transpose(-1, -2) @ v_c
    total = total + k_c.sum(2)[..., None]
  return torch.cat(outs, 2)


def _jla(kind: str, q: Any, k: Any, v: Any, **gates: Any) -> jax.Array:
  from jla import ops

  impl = "mosaic_gpu" if on_gpu() else "chunked"
  out, _ = ops.linear_attention(kind, q, k, v, impl=impl, scale=1.0, **gates)
  return out


def _jla_linear(q: Any, k: Any, v: Any, *, causal: bool = True) -> jax.Array:
  """Normalised by a column of ones: the library has no normaliser."""
  _only_causal(causal)
  one = jnp.ones((*v.shape[:-1], 1), v.dtype)
  phi = features.elu_plus_one
  values = jnp.concatenate([v, one], axis=-1)
  decay = jnp.zeros(q.shape[:-1], q.dtype)
  out = _jla("simple_gla", phi(q), phi(k), values, g=decay)
  return out[..., :-1] / out[..., -1:]


def _jla_family(
    kind: str,
    names: dict[str, str],
    unit: bool,
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = True,
    **gates: Any,
) -> jax.Array:
  """A family whose gates have other names there."""
  _only_causal(causal)
  if unit:
    q, k = features.unit(q), features.unit(k)
  given = {names[gate]: x for gate, x in gates.items()}
  return _jla(kind, q, k, v, **given)


def _jla_rwkv7(
    q: Any,
    k: Any,
    v: Any,
    *,
    causal: bool = True,
    log_decay: Any,
    removal: Any,
    rate: Any,
) -> jax.Array:
  _only_causal(causal)
  r = features.unit(removal)
  return _jla("rwkv7", q, k, v, w=log_decay, a=-r, b=rate * r)


def _fla_mamba2(
    q: Any, k: Any, v: Any, *, causal: bool = True, log_decay: Any
) -> Any:
  _only_causal(causal)
  call = _fla("simple_gla", "naive_chunk_simple_gla", "chunk_simple_gla")
  return call(q, k, v, log_decay)


def _fla_gated_deltanet(
    q: Any, k: Any, v: Any, *, causal: bool = True, log_decay: Any, beta: Any
) -> Any:
  _only_causal(causal)
  plain, fused = "naive_chunk_gated_delta_rule", "chunk_gated_delta_rule"
  call = _fla("gated_delta_rule", plain, fused)
  return call(_unit(q), _unit(k), v, log_decay, beta)


def _fla_kda(
    q: Any, k: Any, v: Any, *, causal: bool = True, log_decay: Any, beta: Any
) -> Any:
  _only_causal(causal)
  call = _fla("kda", "naive_chunk_kda", "chunk_kda")
  return call(_unit(q), _unit(k), v, log_decay, beta)


def _fla_deltanet(
    q: Any, k: Any, v: Any, *, causal: bool = True, beta: Any
) -> Any:
  _only_causal(causal)
  q, k = _unit(q), _unit(k)
  if on_gpu():
    return _fla("delta_rule", "", "chunk_delta_rule")(q, k, v, beta)
  from fla.ops.delta_rule import naive

  q = q * q.shape[-1] ** 0.5  # which it divides by
  return naive.delta_rule_chunkwise(q, k, v, beta)[0]


def _fla(family: str, plain: str, fused: str) -> Callable[..., Any]:
  """A call of tensors `[B, H, T, ...]` to what takes them tokens first.

  On a GPU it is the library's kernel, elsewhere its plain PyTorch.
  """
  module = f"fla.ops.{family}" + ("" if on_gpu() else ".naive")
  form = getattr(importlib.import_module(module), fused if on_gpu() else plain)

  def call(*arrays: Any) -> Any:
    tokens_first = (x.transpose(1, 2).contiguous() for x in arrays)
    return form(*tokens_first, scale=1.0)[0].transpose(1, 2)

  return call


def _unit(x: Any) -> Any:
  from torch.nn import functional

  return functional.normalize(x, dim=-1)


def _only_causal(causal: bool) -> None:
  if not causal:
    raise ValueError("causal: expected True for this library, got False")


def _family(kind: str, unit: bool = False, **names: str) -> Callable[..., Any]:
  return functools.partial(_jla_family, kind, names, unit)


FORMS: dict[tuple[str, str], Callable[..., Any]] = {
    ("softmax", "torch"): _torch_sdpa,
    ("softmax", "jax.nn"): _jax_nn,
    ("softmax", "cudnn"): _cudnn,
    ("linear", "torch"): _torch_chunks,
    ("linear", "jla"): _jla_linear,
    ("mamba2", "jla"): _family("simple_gla", log_decay="g"),
    ("mamba2", "fla"): _fla_mamba2,
    ("gla", "jla"): _family("gla", log_decay="g"),
    ("rwkv6", "jla"): _family("rwkv6", log_decay="g", bonus="u"),
    ("deltanet", "jla"): _family("deltanet", True, beta="beta"),
    ("deltanet", "fla"): _fla_deltanet,
    ("gated_deltanet", "jla"): _family(
        "gated_deltanet", True, log_decay="g", beta="beta"
    ),
    ("gated_deltanet", "fla"): _fla_gated_deltanet,
    ("kda", "jla"): _family("kda", True, log_decay="g", beta="beta"),
    ("kda", "fla"): _fla_kda,
    ("rwkv7", "jla"): _jla_rwkv7,
}


def works() -> tuple[str, ...]:
  """Returns the works that some other library can do."""
  return tuple(dict.fromkeys(work for work, _ in FORMS))


def of(work: str) -> tuple[str, ...]:
  """Returns the libraries of a work, this one first."""
  return (OURS, *(library for known, library in FORMS if known == work))


def is_torch(library: str) -> bool:
  """Returns whether a library computes in PyTorch."""
  return _MODULES[library][1]


def on_gpu() -> bool:
  """Returns whether JAX makes programs for a GPU, and so should others."""
  return tuning.assumed() == "cuda"


def missing(work: str, compiled_for: str | None = None) -> dict[str, str]:
  """Libraries of a work that cannot compute here -> what they need.

  Args:
    work: as in `works`.
    compiled_for: a platform, as in `tuning.PLATFORMS`, that programs are only
      compiled for; None where they run.
  """
  if compiled_for is not None:
    with tuning.lowered_for(compiled_for):
      return _missing(work, runs=False)
  return _missing(work, runs=True)


def _missing(work: str, runs: bool) -> dict[str, str]:
  needed = {library: _MODULES[library][0] for library in of(work)}
  found = {
      library: module
      for library, module in needed.items()
      if importlib.util.find_spec(module) is None
  }
  if "cudnn" in needed and not on_gpu():
    found["cudnn"] = "an NVIDIA GPU"
  if not runs:  # PyTorch compiles for what it runs on
    found |= {x: "a device to run on" for x in needed if is_torch(x)}
    if on_gpu() and "jla" in needed:  # which asks the one at hand
      found["jla"] = "a Hopper GPU"
  elif on_gpu():  # a processor's seconds would stand beside a GPU's
    slow = [x for x in needed if is_torch(x) and x not in found]
    found |= {library: "PyTorch for GPUs" for library in slow if not _cuda()}
  return found


def _cuda() -> bool:
  """Whether PyTorch has a GPU; one that breaks on import has none."""
  try:
    import torch

    return torch.cuda.is_available()
  except Exception:  # libraries of CUDA that do not go with JAX's
    return False
