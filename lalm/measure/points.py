"""From a point of a sweep to the function that is measured.

A point is a dictionary: mechanism, form, pass, length, batch, heads, width,
value_width, dtype, causal, chunk, corpus, seed. Its function takes q, k, v and
the mechanism's gates; it returns `out` only (forward), or (out, dq, dk, dv,
...) for a cotangent (forward_backward).
"""

import hashlib
import json
from typing import Any, Mapping, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm.data import text
from lalm.measure import environment

PASSES = ("forward", "forward_backward")

Point = Mapping[str, Any]


class Program(NamedTuple):
  """A measured function that is not compiled yet.

  Attributes:
    function: of the arguments below, under `jax.jit`.
    inputs: shapes of q, k, v and the gates.
    backward: whether the cotangent is the last argument.
  """

  function: Any
  inputs: tuple[jax.ShapeDtypeStruct, ...]
  backward: bool

  @property
  def out(self) -> jax.ShapeDtypeStruct:
    """Shape of the output and of its cotangent: by the contract, that of v."""
    return self.inputs[2]

  @property
  def arguments(self) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of all arguments, in order."""
    return (*self.inputs, self.out) if self.backward else self.inputs


def program(point: Point, mechanism: Any) -> Program:
  """The function of a point.

  Args:
    point: what is measured.
    mechanism: has `forms`, a mapping of names to functions, and `gates`.

  Raises:
    ValueError: the form or the pass is unknown.
  """
  form = mechanism.forms.get(point["form"])
  if form is None:
    known = ", ".join(mechanism.forms)
    raise ValueError(f"form: expected one of {known}, got {point['form']!r}")
  if point["pass"] not in PASSES:
    known = ", ".join(PASSES)
    raise ValueError(f"pass: expected one of {known}, got {point['pass']!r}")
  keywords: dict[str, Any] = {"causal": point["causal"]}
  if point.get("chunk"):
    keywords["chunk"] = point["chunk"]

  def forward(
      q: jax.Array, k: jax.Array, v: jax.Array, *gates: jax.Array
  ) -> jax.Array:
    named = dict(zip(mechanism.gates, gates))
    result = form(q, k, v, **named, **keywords)
    return result[0] if isinstance(result, tuple) else result

  def forward_backward(*arrays: jax.Array) -> tuple[jax.Array, ...]:
    *inputs, cotangent = arrays
    out, pull = jax.vjp(forward, *inputs)
    return out, *pull(cotangent)

  inputs = (*_shapes(point), *jax.eval_shape(lambda: gates(point, mechanism)))
  backward = point["pass"] == "forward_backward"
  function = jax.jit(forward_backward if backward else forward)
  return Program(function, inputs, backward)


def _shapes(point: Point) -> tuple[jax.ShapeDtypeStruct, ...]:
  leading = (point["batch"], point["length"], point["heads"])
  widths = (point["width"], point["width"], point["value_width"])
  kind = jnp.dtype(point["dtype"])
  return tuple(jax.ShapeDtypeStruct((*leading, w), kind) for w in widths)


def inputs(point: Point) -> text.Inputs:
  """Queries, keys and values of a point, from its corpus."""
  names = ("batch", "length", "heads", "width", "value_width", "dtype")
  return text.projected(
      point["corpus"], point["seed"], **{name: point[name] for name in names}
  )


def gates(point: Point, mechanism: Any) -> tuple[jax.Array, ...]:
  """Gates of a point: the mechanism's own random ones, in its order."""
  names = ("batch", "length", "heads", "width", "value_width", "dtype")
  if not mechanism.gates:
    return ()
  key = jax.random.key(point["seed"])
  drawn = mechanism.inputs(key, **{name: point[name] for name in names})[1]
  return tuple(drawn[name] for name in mechanism.gates)


def cotangent(point: Point, out: jax.ShapeDtypeStruct) -> np.ndarray:
  """The seeded cotangent a gradient is timed with."""
  generator = np.random.default_rng([point["seed"], point["length"]])
  return generator.standard_normal(out.shape, np.float32).astype(out.dtype)


def key(point: Point, lowered: Any) -> str:
  """16 hexadecimal digits under which a measurement of a point is done.

  They change with the point, the program (its StableHLO), the versions and
  the machine with its compiler flags and allocator settings.
  """
  parts = [
      dict(point),
      hashlib.sha256(lowered.as_text().encode()).hexdigest(),
      environment.versions(),
      environment.settings(),
      environment.fingerprint(),
  ]
  text_ = json.dumps(parts, sort_keys=True)
  return hashlib.sha256(text_.encode()).hexdigest()[:16]


def cost(point: Point, mechanism: Any) -> Any:
  """Closed-form products and bytes of a point; None if there is no model."""
  if mechanism.cost is None:
    return None
  names = "batch length heads width value_width causal chunk dtype".split()
  return mechanism.cost(
      point["form"],
      pass_=point["pass"],
      **{name: point[name] for name in names},
  )
