"""The matrix that a mechanism applies, and the ranks of its blocks.

A point's one form is the matrix, computed in float64 on a stretch of text; a
replicate draws another stretch, and other gates. It passes the gate of every
measurement: applied to v it gives the definition's rows. Then the singular
values of its blocks A[i:, :i] are taken, whose rank must be within the bound
(`bounds`); nothing is timed.
"""

import dataclasses
import functools
import math
import sys
from typing import Any, Sequence

import jax
import numpy as np

from lalm.attention import catalogue
from lalm.attention import reference
from lalm.attention import variants
from lalm.attention import window
from lalm.data import text
from lalm.measure import bounds
from lalm.measure import error
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import points
from lalm.measure import structure

FORM = "matrix"
# Seconds of all singular values of one head over n^3, on a usual core.
_SECONDS = 2e-9
# What a record follows from beside the compiled program.
_FOLLOWS = (
    sys.modules[__name__], bounds, points, structure, structure.rank, text,
    variants, catalogue.Mechanism.inputs, catalogue.Gate.random,
)  # fmt: skip

# Decays that a paper gives its heads, where others are drawn.
_OWN = {
    "retnet": variants.retnet_log_decay,
    "lightning": variants.lightning_log_decay,
}

names = catalogue.names


def get(name: str) -> catalogue.Mechanism:
  """Returns a mechanism whose one form returns its matrix, `[B, H, T, S]`.

  Raises:
    ValueError: no such mechanism.
  """
  return _matrix_only(catalogue.get(name))


def _matrix_only(mechanism: catalogue.Mechanism) -> catalogue.Mechanism:
  def matrix(
      q: jax.Array, k: jax.Array, v: jax.Array, **gates: Any
  ) -> jax.Array:
    del v  # what it is applied to
    return mechanism.matrix(q, k, **gates)

  return dataclasses.replace(
      mechanism, forms={FORM: matrix}, featured=(), laws={}
  )


def _mechanism(point: kernel.Point) -> catalogue.Mechanism:
  """The mechanism of a point, with the point's window if it has one."""
  found = catalogue.get(point["mechanism"])
  if found.name == "window":
    size = {"window": point["window"]}
    found = dataclasses.replace(
        found,
        rows=functools.partial(reference.window_rows, **size),
        apply=functools.partial(window.matrix, **size),
    )
  return _matrix_only(found)


class Target(kernel.Target):
  """Plans and measures points; their records have `blocks` and no times."""

  def __init__(self) -> None:
    super().__init__(get)

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """Key, predicted peak bytes and seconds."""
    del settings  # what a point is does not depend on how it is measured
    if point["length"] < 2:
      raise ValueError(f"length: expected at least 2, got {point['length']}")
    mechanism = _mechanism(point)
    with kernel.precision(point):
      program = points.program(point, mechanism)
      lowered = program.function.lower(*program.arguments)
    heads = point["batch"] * point["heads"]
    entries = point["length"] ** 2 * (mechanism.writes or 1)
    return {
        "key": _key(point, lowered),
        # With it: of identity values a copy or two, and a block's.
        "bytes": 4 * heads * entries * np.dtype(point["dtype"]).itemsize,
        "seconds": _SECONDS * heads * point["length"] ** 3,
        "repeats": 1,
    }

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point in this process."""
    mechanism = _mechanism(point)
    with kernel.precision(point):
      inputs = _inputs(point, mechanism, replicate)
      program = points.program(point, mechanism)
      lowered = program.function.lower(*program.arguments)
      matrix = np.asarray(lowered.compile()(*inputs))
    record = kernel.identity(point, replicate, _key(point, lowered))
    seed = [settings.get("seed", 0), replicate, point["seed"]]
    record |= kernel.outcome(_gate(point, mechanism, matrix, inputs, seed))
    if record["status"] != "ok":
      return record
    found = _blocks(point, mechanism, matrix)
    if not replicate:
      found["picture"] = structure.picture(matrix[0, 0])
    beyond = structure.beyond(found)
    status = "wrong" if beyond else "ok"
    return {**record, "blocks": found, "status": status, "reason": beyond}


def _key(point: kernel.Point, lowered: Any) -> str:
  """Of the matrix, what is done with it, and the text."""
  read = text.digest(point["corpus"], point["batch"] * point["length"])
  gates = repr(_mechanism(point).gates)
  return keys.of(point, lowered.as_text(), gates, keys.code(*_FOLLOWS), read)


def _inputs(
    point: kernel.Point, mechanism: Any, replicate: int
) -> list[np.ndarray]:
  """q, k, v and gates of a replicate; drawn log-decays are over `horizon`.

  Those of RetNet's and Lightning's heads are their own.
  """
  own = {**point, "seed": point["seed"] + replicate}
  arrays = list(points.inputs(own, mechanism))
  for place, name in enumerate(mechanism.gates, 3):
    if mechanism.name in _OWN:
      own_decay = _OWN[mechanism.name](point["heads"])
      arrays[place] = np.asarray(own_decay, arrays[place].dtype)
    elif name == "log_decay":
      arrays[place] = arrays[place] / point["horizon"]
  if mechanism.name == "hgrn2":  # its keys are logits of the decay
    decay = -np.logaddexp(0, -arrays[1]) / point["horizon"]
    arrays[1] = decay - np.log(-np.expm1(decay))
  return arrays


def _gate(
    point: kernel.Point,
    mechanism: Any,
    matrix: np.ndarray,
    inputs: Sequence[np.ndarray],
    seed: Sequence[int],
) -> error.Verdict:
  """Compares the matrix times v with the definition."""
  v = inputs[2]
  tokens = math.prod(v.shape[1:-2])  # T r
  v = v.reshape(v.shape[0], tokens, *v.shape[-2:])
  out = np.einsum("bhts,bshv->bthv", matrix, v, optimize=True)
  return error.check_forward(
      out,
      inputs,
      kernel.reference(mechanism),
      causal=point["causal"],
      seed=seed,
      device=jax.default_backend(),
      layouts=mechanism.layouts,
  )


def _blocks(
    point: kernel.Point, mechanism: Any, matrix: np.ndarray
) -> dict[str, Any]:
  """What a record says of the blocks of each head."""
  length, writes = point["length"], mechanism.writes or 1
  cuts = structure.cuts(length)
  known = [bounds.of(mechanism, point, cut) for cut in cuts]
  heads = matrix.reshape(-1, *matrix.shape[2:])
  return {
      "transition": mechanism.transition,
      "bound": known[0].words,
      "bounds": [bound.rank for bound in known],
      "cuts": cuts,
      "practical": structure.PRACTICAL,
      "heads": [structure.of_head(head, writes) for head in heads],
  }


TARGET = Target()
