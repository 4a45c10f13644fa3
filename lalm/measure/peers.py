"""The same attention by other libraries, measured as this one is.

Two works, `softmax` (exact attention) and `linear` (normalised, elu + 1), each
with a form per library: `lalm`, and whatever of the others imports. They have
the same inputs, gate and clock; libraries meet in the same processes, in an
order drawn anew for each.
"""

import importlib.util
import inspect
from typing import Any, Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import catalogue
from lalm.attention import features
from lalm.measure import environment
from lalm.measure import error
from lalm.measure import kernel
from lalm.measure import memory
from lalm.measure import points
from lalm.measure import timing

# Work -> libraries, with the module each needs.
LIBRARIES = {
    "softmax": {"lalm": "jax", "torch": "torch", "jax.nn": "jax"},
    "linear": {"lalm": "jax", "torch": "torch", "jla": "jla"},
}
_TORCH_CHUNK = 128  # the fastest of 64, 128 and 256


def _jax_nn(q: Any, k: Any, v: Any, *, causal: bool = True) -> jax.Array:
  return jax.nn.dot_product_attention(q, k, v, is_causal=causal)


def _jla(q: Any, k: Any, v: Any, *, causal: bool = True) -> jax.Array:
  """Normalised by a column of ones: the library has no normaliser."""
  from jla import ops

  if not causal:
    raise ValueError("causal: expected True for jla, got False")
  one = jnp.ones((*v.shape[:-1], 1), v.dtype)
  gates = {"g": jnp.zeros(q.shape[:-1], q.dtype)}
  phi = features.elu_plus_one
  values = jnp.concatenate([v, one], axis=-1)
  out, _ = ops.linear_attention(
      "simple_gla", phi(q), phi(k), values, impl="chunked", scale=1.0, **gates
  )
  return out[..., :-1] / out[..., -1:]


def _torch_sdpa(q: Any, k: Any, v: Any, *, causal: bool = True) -> Any:
  """PyTorch's fused attention, `[B, H, T, D]`."""
  from torch.nn import functional

  return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)


def _torch_chunks(q: Any, k: Any, v: Any, *, causal: bool = True) -> Any:
  """A loop over chunks as one writes it in PyTorch, `[B, H, T, D]`.

  `torch.split`, because slicing inside the loop makes its backward quadratic.
  """
  import torch

  elu = torch.nn.functional.elu
  q, k = elu(q) + 1, elu(k) + 1
  if not causal:
    state, total = k.transpose(-1, -2) @ v, k.sum(2)[..., None]
    return (q @ state) / (q @ total)
  state = q.new_zeros((*q.shape[:2], q.shape[-1], v.shape[-1]))
  total = q.new_zeros((*q.shape[:2], q.shape[-1], 1))
  size = min(_TORCH_CHUNK, q.shape[2])
  mask = torch.tril(q.new_ones((size, size)))
  outs = []
  for q_c, k_c, v_c in zip(*(torch.split(x, size, 2) for x in (q, k, v))):
    length = q_c.shape[2]
    scores = (q_c @ k_c.transpose(-1, -2)) * mask[:length, :length]
    below = scores.sum(-1, keepdim=True) + q_c @ total
    outs.append((scores @ v_c + q_c @ state) / below)
    state = state + k_c.transpose(-1, -2) @ v_c
    total = total + k_c.sum(2)[..., None]
  return torch.cat(outs, 2)


_FORMS: dict[tuple[str, str], Callable[..., Any]] = {
    ("softmax", "torch"): _torch_sdpa,
    ("softmax", "jax.nn"): _jax_nn,
    ("linear", "torch"): _torch_chunks,
    ("linear", "jla"): _jla,
}
_OURS = {"softmax": "blockwise", "linear": "chunkwise"}


def missing(work: str) -> dict[str, str]:
  """Libraries of a work that do not import here -> the module they need."""
  return {
      library: module
      for library, module in LIBRARIES[work].items()
      if importlib.util.find_spec(module) is None
  }


def names() -> tuple[str, ...]:
  """Returns the works."""
  return tuple(LIBRARIES)


def get(name: str) -> catalogue.Mechanism:
  """Returns a work as a mechanism whose forms are the libraries at hand.

  Raises:
    ValueError: no such work.
  """
  if name not in LIBRARIES:
    raise ValueError(
        f"mechanism: expected one of {', '.join(LIBRARIES)}, got {name!r}"
    )
  ours = catalogue.get(name)
  forms = {
      library: _FORMS.get((name, library), ours.forms[_OURS[name]])
      for library in LIBRARIES[name]
      if library not in missing(name)
  }
  laws = {"lalm": ours.laws[_OURS[name]]}
  return catalogue.Mechanism(
      name=name,
      definition=ours.definition,
      forms=forms,
      laws=laws,
      rows=ours.rows,
  )


class Target(kernel.Target):
  """As the target of attention; PyTorch's forms run in PyTorch."""

  def __init__(self) -> None:
    super().__init__(get)

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """Key, operations, predicted bytes and seconds of one call."""
    ours = super().plan({**point, "form": "lalm"}, settings)
    if point["form"] == "lalm":
      return ours
    if point["form"] == "torch":
      theirs = {**ours, "key": _torch_key(point)}
    else:
      theirs = super().plan(point, settings)
    # They are measured again with ours, for a ratio is of one run.
    both = _Text(f"{ours['key']} {theirs['key']}")
    return {**theirs, "key": points.key(point, both)}

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point in this process."""
    if point["form"] != "torch":
      return super().measure(point, replicate, settings)
    run, call, inputs = _torch_program(point)
    verdict = error.check(
        call,
        inputs,
        get(point["mechanism"]).reference,
        backward=point["pass"] == "forward_backward",
        causal=point["causal"],
        seed=[settings.get("seed", 0), replicate, point["seed"]],
        device="cpu",
    )
    record = kernel.identity(point, replicate, _torch_key(point))
    record["versions"] = {**record["versions"], **_torch_version()}
    record |= kernel.outcome(verdict)
    if verdict.status != "ok":
      return record
    memory.settle()
    timed = timing.measure(run, budget=settings.get("point_budget", 2.0))
    return {**record, "seconds": timed.seconds, "calls": timed.calls}


class _Text:
  """Stands where a lowered program does in a key."""

  def __init__(self, text: str) -> None:
    self._text = text

  def as_text(self) -> str:
    """What identifies the program."""
    return self._text


def _torch_version() -> dict[str, str]:
  import torch

  return {"torch": torch.__version__}


def _torch_key(point: kernel.Point) -> str:
  source = inspect.getsource(_FORMS[point["mechanism"], "torch"])
  return points.key(point, _Text(f"{_torch_version()} {source}"))


def _torch_program(point: Mapping[str, Any]) -> Any:
  """Returns what is timed, the call the gate makes, and q, k, v in NumPy."""
  import torch

  torch.set_num_threads(environment.cores())
  form = _FORMS[point["mechanism"], "torch"]
  inputs = points.inputs(point, get(point["mechanism"]))
  backward = point["pass"] == "forward_backward"
  kind = getattr(torch, point["dtype"])
  # PyTorch does not read NumPy's bfloat16, but float32 holds all of it.
  common = "float64" if point["dtype"] == "float64" else "float32"
  heads_first = lambda x: (
      torch.from_numpy(np.array(x, common, order="C"))
      .to(kind)
      .transpose(1, 2)
      .contiguous()
  )
  tensors = [heads_first(x).requires_grad_(backward) for x in inputs]

  def call(cotangent: Any = None) -> list[Any]:
    for tensor in tensors:
      tensor.grad = None
    if cotangent is None:
      with torch.no_grad():
        return [form(*tensors, causal=point["causal"])]
    out = form(*tensors, causal=point["causal"])
    out.backward(cotangent)
    return [out.detach(), *(tensor.grad for tensor in tensors)]

  def gated(cotangent: Any = None) -> list[np.ndarray]:
    given = None if cotangent is None else heads_first(cotangent)
    results = (x.transpose(1, 2).contiguous() for x in call(given))
    return [x.to(getattr(torch, common)).numpy() for x in results]

  constant = None
  if backward:
    shape = jax.ShapeDtypeStruct(inputs[2].shape, np.dtype(common))
    constant = heads_first(points.cotangent(point, shape))
  return (lambda: call(constant)), gated, inputs


TARGET = Target()
