"""How far is each form from its mechanism's definition in float64?

A `step` is a compiled scan of steps. What the gate of a timing refuses is a
measurement here.
"""

import dataclasses
import functools
import hashlib
import inspect
import json
from typing import Any, Mapping

import jax
import numpy as np

from lalm.attention import catalogue
from lalm.data import text
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import points
from lalm.measure import samples
from lalm.measure import steps
from lalm.measure import tolerances

# For the plan: seconds a token of a scan and of its definition takes, and bytes
# a second of a state that each step rewrites. Both are more than products take.
_TOKEN = 2e-5
_RATE = 5e9

names = catalogue.names


def get(name: str) -> catalogue.Mechanism:
  """Returns a mechanism of which every form is swept, and its step scanned.

  Raises:
    ValueError: there is no such mechanism.
  """
  mechanism = catalogue.get(name)
  forms = dict(mechanism.forms)
  if "step" in forms:
    forms["step"] = steps.scan(mechanism)
  return dataclasses.replace(
      mechanism, forms=forms, featured=tuple(forms), laws={}
  )


class Target(kernel.Target):
  """Plans points and measures rounding errors; nothing is timed."""

  def __init__(self) -> None:
    super().__init__(get)
    self._rows: dict[Any, np.ndarray] = {}

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """As of attention, under a key that is of the definition too."""
    planned = super().plan(point, settings)
    mechanism = get(point["mechanism"])
    token = _TOKEN
    if point["form"] == "step":
      token += 2 * _state_bytes(point, mechanism) / _RATE
    seconds = (planned["seconds"] or 0.0) + token * point["length"]
    read = text.digest(point["corpus"], point["batch"] * point["length"])
    gates = repr(mechanism.gates)
    follows = _definition(point, mechanism), gates, _code(), read
    key = keys.of(point, planned["key"], *follows)
    return {**planned, "key": key, "seconds": seconds, "repeats": 1}

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point; replicates are of other rows."""
    kernel.use_cache(settings.get("cache"))
    mechanism = get(point["mechanism"])
    key = self.plan(point, settings)["key"]
    record = kernel.identity(point, replicate, key)
    record["transition"] = mechanism.transition
    with kernel.precision(point):
      program = points.program(point, mechanism)
      arrays = points.inputs(point, mechanism)
      out = np.asarray(program.function(*arrays))
    bad = out.size - np.count_nonzero(np.isfinite(out.astype(np.float32)))
    if bad:
      reason = f"out: {bad} of {out.size} values are not finite"
      return {**record, "status": "not_finite", "reason": reason}
    sample = samples.sample(
        out,
        arrays,
        functools.partial(self._reference, mechanism, _compared(point)),
        layouts=mechanism.layouts,
        causal=point["causal"],
        seed=[point["seed"], replicate],
    )
    tolerance = tolerances.forward(
        point["dtype"],
        point["length"],
        jax.default_backend(),
        ours=self._ours(point),
    )
    relative = float(np.maximum(sample.early, sample.late / 2))
    found = {
        "relative": relative,
        "early": sample.early,
        "late": sample.late,
        "tolerance": tolerance,
        "within": relative <= tolerance,
    }
    return {**record, "distance": found, "status": "ok", "reason": ""}

  def _reference(
      self,
      mechanism: catalogue.Mechanism,
      compared: str,
      q: Any,
      *rest: Any,
      causal: bool,
  ) -> np.ndarray:
    """The definition's rows, evaluated once for all forms of a head."""
    place = (compared, *map(_digest, (q, *rest)))
    if place not in self._rows:
      found = kernel.reference(mechanism)(q, *rest, causal=causal)
      self._rows[place] = found
    return self._rows[place]


def _digest(array: Any) -> str:
  """Tells the inputs of one head from those of another."""
  return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _compared(point: Mapping[str, Any]) -> str:
  """What points that are compared with the same rows have in common."""
  return json.dumps({**point, "form": None, "chunk": None}, sort_keys=True)


def _state_bytes(point: kernel.Point, mechanism: catalogue.Mechanism) -> int:
  """Size of the state that the steps of a point rewrite."""
  sizes = [point[name] for name in ("batch", "heads", "width", "value_width")]
  start = functools.partial(
      mechanism.init, capacity=point["length"], dtype=point["dtype"]
  )
  state = jax.eval_shape(lambda: start(*sizes))
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


def _definition(point: kernel.Point, mechanism: catalogue.Mechanism) -> str:
  """Text that changes with what a form is compared to."""
  rows: Any = mechanism.rows
  if rows is None:
    alone = dict.fromkeys(("batch", "heads"), 1)
    known = {**point, **alone, "dtype": "float64", "chunk": 0}
    forms = {point["form"]: mechanism.definition}
    whole = dataclasses.replace(mechanism, forms=forms, featured=())
    with kernel.precision(known):
      program = points.program(known, whole)
      return program.function.lower(*program.arguments).as_text()
  parts = [rows]
  while isinstance(parts[0], functools.partial):
    parts[:1] = [parts[0].func, *parts[0].args, *parts[0].keywords.values()]
  return "\n".join(map(_told, parts))


def _told(part: Any) -> str:
  """The code of a function's module; what else a definition is made of."""
  module = inspect.getmodule(inspect.unwrap(part)) if callable(part) else None
  return repr(part) if module is None else keys.code(module)


def _code() -> str:
  """What a record follows from beside programs and definitions."""
  drawn = (catalogue.Mechanism.inputs, catalogue.Gate.random)
  own = (Target.measure, Target._reference, _digest)
  return keys.code(*own, *drawn, points, samples, text, tolerances)


TARGET = Target()
