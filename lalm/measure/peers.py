"""The same attention by other libraries, measured as this one is.

Works are mechanisms, with a form per library: `lalm`, and whatever of the
others imports (`libraries`). They have the same inputs, gate and clock;
libraries meet in the same processes, in an order drawn anew for each.
"""

from collections.abc import Callable
import dataclasses
import functools
import inspect
from typing import Any, Mapping

import jax
import numpy as np

from lalm.attention import catalogue
from lalm.measure import environment
from lalm.measure import error
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import libraries
from lalm.measure import memory
from lalm.measure import peak_memory
from lalm.measure import points
from lalm.measure import timing

_OURS = {"softmax": "blockwise"}  # else "chunkwise"


def names() -> tuple[str, ...]:
  """Returns the works."""
  return libraries.works()


def get(name: str, compiled_for: str | None = None) -> catalogue.Mechanism:
  """Returns a work as a mechanism whose forms are the libraries at hand.

  Args:
    name: of the work.
    compiled_for: as in `libraries.missing`.

  Raises:
    ValueError: no such work.
  """
  if name not in names():
    raise ValueError(
        f"mechanism: expected one of {', '.join(names())}, got {name!r}"
    )
  ours = catalogue.get(name)
  form = _OURS.get(name, "chunkwise")
  forms = {
      library: libraries.FORMS.get((name, library), ours.forms[form])
      for library in libraries.of(name)
      if library not in libraries.missing(name, compiled_for)
  }
  laws = {libraries.OURS: ours.laws[form]}
  return dataclasses.replace(ours, forms=forms, featured=(), laws=laws)


class Target(kernel.Target):
  """As the target of attention; forms of PyTorch's run in PyTorch."""

  def __init__(self) -> None:
    super().__init__(get)

  def find_for(self, platform: str) -> Callable[[str], catalogue.Mechanism]:
    """Finds works with the libraries that can be compiled for a platform."""
    return functools.partial(get, compiled_for=platform)

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """Key, operations, predicted bytes and seconds of one call."""
    ours = super().plan({**point, "form": libraries.OURS}, settings)
    if point["form"] == libraries.OURS:
      return ours
    if libraries.is_torch(point["form"]):
      theirs = {**ours, "key": _torch_key(point)}
    else:
      theirs = super().plan(point, settings)
    # They are measured again with ours, for a ratio is of one run.
    return {**theirs, "key": keys.of(point, ours["key"], theirs["key"])}

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point in this process."""
    if not libraries.is_torch(point["form"]):
      return super().measure(point, replicate, settings)
    run, call, inputs = _torch_program(point)
    mechanism = get(point["mechanism"])
    verdict = error.check(
        call,
        inputs,
        kernel.reference(mechanism),
        layouts=mechanism.layouts,
        backward=point["pass"] == "forward_backward",
        causal=point["causal"],
        seed=[settings.get("seed", 0), replicate, point["seed"]],
        device=jax.default_backend(),
    )
    record = kernel.identity(point, replicate, _torch_key(point))
    record["versions"] = {**record["versions"], **_torch_version()}
    record |= kernel.outcome(verdict)
    if verdict.status != "ok":
      return record
    memory.settle()
    budget = settings.get("point_budget", 2.0)
    timed = timing.measure(run, budget=budget)
    record |= {"seconds": timed.seconds, "calls": timed.calls}
    return record | kernel.profiled(run, min(timed.seconds), budget)


def _torch_version() -> dict[str, str]:
  import torch

  return {"torch": torch.__version__}


def _torch_key(point: kernel.Point) -> str:
  source = inspect.getsource(_form(point))
  return keys.of(point, str(_torch_version()), source)


def _form(point: kernel.Point) -> Any:
  return libraries.FORMS[point["mechanism"], point["form"]]


def _torch_program(point: Mapping[str, Any]) -> Any:
  """Returns what is timed, the call the gate makes, and inputs in NumPy."""
  import torch

  torch.set_num_threads(environment.cores())
  place = "cuda" if libraries.on_gpu() else "cpu"
  form, mechanism = _form(point), get(point["mechanism"])
  inputs = points.inputs(point, mechanism)
  backward = point["pass"] == "forward_backward"
  kind = getattr(torch, point["dtype"])
  # PyTorch does not read NumPy's bfloat16, but float32 holds all of it.
  common = "float64" if point["dtype"] == "float64" else "float32"
  heads_first = lambda x: (
      torch.from_numpy(np.array(x, common, order="C"))
      .to(place, kind)
      .transpose(1, 2)
      .contiguous()
  )
  tensors = [heads_first(x).requires_grad_(backward) for x in inputs]

  gates = dict(zip(mechanism.gates, tensors[3:]))
  keywords = {"causal": point["causal"], **gates}

  def call(cotangent: Any = None) -> list[Any]:
    for tensor in tensors:
      tensor.grad = None
    if cotangent is None:
      with torch.no_grad():
        return [form(*tensors[:3], **keywords)]
    out = form(*tensors[:3], **keywords)
    out.backward(cotangent)
    return [out.detach(), *(tensor.grad for tensor in tensors)]

  def gated(cotangent: Any = None) -> list[np.ndarray]:
    given = None if cotangent is None else heads_first(cotangent)
    results = (x.transpose(1, 2).contiguous() for x in call(given))
    return [x.to("cpu", getattr(torch, common)).numpy() for x in results]

  constant = None
  if backward:
    shape = jax.ShapeDtypeStruct(inputs[2].shape, np.dtype(common))
    constant = heads_first(points.cotangent(point, shape))

  def run() -> list[Any]:
    results = call(constant)
    if place == "cuda":  # which has only been told what to do
      torch.cuda.synchronize()
    return results

  return run, gated, inputs


TARGET = Target()
PEAK = peak_memory.Peak(TARGET, libraries.is_torch)
