"""A compiled scan of steps, beside the floors that steps are measured against.

A step reads and rewrites its state, as scaling it does; called from Python, it
is a call, as one that computes nothing. Both floors are timed by the worker
that has timed the steps.
"""

import dataclasses
import inspect
from typing import Any, Callable, Mapping

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import catalogue
from lalm.attention import contract
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import peak_memory
from lalm.measure import points
from lalm.measure import timing
from lalm.measure import worker

FORM = "steps"


def names() -> tuple[str, ...]:
  """Returns the mechanisms whose state has the same size after any token."""
  return tuple(n for n in catalogue.names() if _steps(catalogue.get(n)))


def _steps(mechanism: catalogue.Mechanism) -> bool:
  forms = {"recurrent", "step"} <= set(mechanism.forms)
  return forms and mechanism.start is not None


def get(name: str) -> catalogue.Mechanism:
  """Returns a mechanism whose one form is a scan of its `step`.

  Raises:
    ValueError: no such mechanism, or one without these two forms.
  """
  mechanism = catalogue.get(name)
  if not _steps(mechanism):
    raise ValueError(
        "mechanism: expected one with the forms recurrent and step, got"
        f" {name!r}"
    )
  forms = {FORM: scan(mechanism)}
  return dataclasses.replace(mechanism, forms=forms, featured=(), laws={})


def scan(mechanism: catalogue.Mechanism) -> contract.Form:
  """Returns a form that takes a mechanism's steps one after the other.

  It goes on from a `state`, where one is given.
  """
  step = mechanism.forms["step"]

  def steps(
      q: jax.Array,
      k: jax.Array,
      v: jax.Array,
      *,
      causal: bool = True,
      state: Any = None,
      **gates: jax.Array,
  ) -> contract.Result:
    if not causal:
      raise ValueError(f"causal: expected True for steps, got {causal}")
    arrays = {"q": q, "k": k, "v": v, **gates}

    def one(state: Any, t: jax.Array) -> tuple[Any, jax.Array]:
      now = {
          name: lax.dynamic_slice_in_dim(x, t, 1, axis=1)
          if "T" in mechanism.layouts[name]
          else x
          for name, x in arrays.items()
      }
      q, k, v = (now.pop(name) for name in "qkv")
      out, state = step(q, k, v, state=state, **now)
      return state, out[:, 0].astype(wide)

    # XLA on CPUs converts a whole array of bfloat16 to write a row of it.
    wide = contract.accumulator(v.dtype)
    batch, length, heads, width = q.shape  # H = G
    if state is None:
      state = mechanism.init(
          batch, heads, width, v.shape[-1], capacity=length, dtype=v.dtype
      )
    state, out = lax.scan(one, state, jnp.arange(length))
    out = jnp.moveaxis(out, 0, 1).astype(v.dtype)
    return contract.Result(out, state)

  return steps


class Target(kernel.Target):
  """As the target of attention, with the floors of a step in each record."""

  def __init__(self) -> None:
    super().__init__(get)

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """As of attention, under a key that is of the floors too."""
    planned = super().plan(point, settings)
    with kernel.precision(point):
      floors = inspect.getsource(_scaling), _lowered_call(point)
    return {**planned, "key": keys.of(point, planned["key"], *floors)}

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point in this process.

    Where the floors cannot be timed, they are a `reason`.
    """
    record = super().measure(point, replicate, settings)
    if record["status"] != "ok":
      return record
    budget = settings.get("point_budget", 2.0) / 3
    try:
      with kernel.precision(point):
        floors = _floors(point, budget)
    except Exception as error:  # the steps were measured all the same
      floors = {"reason": worker.reason_of(error)}
    return {**record, "floors": floors}


def _floors(point: Mapping[str, Any], budget: float) -> dict[str, Any]:
  """Bytes of the state, and seconds of what a step is measured against.

  Returns:
    `state_bytes`, and samples of `scaling` the state once, of a `call` of
    `step` from Python with a batch of one, and of a `no_op` call.
  """
  mechanism = catalogue.get(point["mechanism"])
  state = _state(mechanism, point)
  scaled = _time(_scaling(state, point["length"]), budget)
  call, nothing = _calls(point, mechanism)
  return {
      "state_bytes": sum(x.nbytes for x in jax.tree.leaves(state)),
      "scaling": [seconds / point["length"] for seconds in scaled],
      "call": _time(call, budget),
      "no_op": _time(nothing, budget),
  }


def _state(mechanism: catalogue.Mechanism, point: Mapping[str, Any]) -> Any:
  """The state before the first token of a point."""
  sizes = (point[n] for n in ("batch", "heads", "width", "value_width"))
  kept = {"capacity": point["length"], "dtype": point["dtype"]}
  return mechanism.init(*sizes, **kept)


def _scaling(state: Any, times: int) -> Callable[[], Any]:
  """Returns a call that scales a state so many times."""

  @jax.jit
  def run(state: Any, factors: jax.Array) -> Any:
    sums = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    one = lambda state, factor: (
        jax.tree.map(
            lambda x: x * factor.astype(x.dtype) if sums(x) else x, state
        ),
        None,
    )
    return lax.scan(one, state, factors)[0]

  factors = jnp.full(times, 0.999, jnp.float32)
  return lambda: run(state, factors)


def _one(point: Mapping[str, Any], mechanism: Any) -> tuple:
  """Returns q, k, v, and the keywords of a call of `step` with B = T = 1."""
  one = {**point, "batch": 1, "length": 1}
  arrays = [jnp.asarray(x) for x in points.inputs(one, mechanism)]
  state = _state(mechanism, one)
  return arrays[:3], {**dict(zip(mechanism.gates, arrays[3:])), "state": state}


def _lowered_call(point: Mapping[str, Any]) -> str:
  """The program of one call."""
  mechanism = catalogue.get(point["mechanism"])
  arrays, given = _one(point, mechanism)
  return jax.jit(mechanism.forms["step"]).lower(*arrays, **given).as_text()


def _calls(point: Mapping[str, Any], mechanism: Any) -> tuple:
  """Returns a call of `step`, and one that computes nothing of the same."""
  arrays, given = _one(point, mechanism)
  step = mechanism.forms["step"]
  nothing = jax.jit(lambda *_, **__: jnp.float32(0), keep_unused=True)
  return (
      lambda: step(*arrays, **given),
      lambda: nothing(*arrays, **given),
  )


def _time(call: Callable[[], Any], budget: float) -> list[float]:
  jax.block_until_ready(call())  # what is done once is not timed
  return timing.measure(call, budget=budget).seconds


TARGET = Target()
PEAK = peak_memory.Peak(TARGET)
