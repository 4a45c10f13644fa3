"""From a point of a sweep to the function that is measured.

A point is a dictionary: mechanism, form, pass, length, batch, heads, width,
value_width, dtype, causal, chunk, corpus, seed. Its function takes q, k, v and
the mechanism's gates; it returns `out` only (forward), or (out, dq, dk, dv,
...) for a cotangent (forward_backward).
"""

from typing import Any, Mapping, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import tuning
from lalm.data import text

_SIZES = ("batch", "length", "heads", "width", "value_width")
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
    """Shape of the output and of its cotangent, in v's dtype."""
    q, _, v = self.inputs[:3]
    return jax.ShapeDtypeStruct((*q.shape[:3], v.shape[-1]), v.dtype)

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
    moving = [x for x in inputs if jnp.issubdtype(x.dtype, jnp.inexact)]
    whole = inputs[len(moving) :]  # integers come last
    out, pull = jax.vjp(lambda *moved: forward(*moved, *whole), *moving)
    return out, *pull(cotangent)

  drawn = jax.eval_shape(lambda: _gates(point, mechanism))
  inputs = (*_shapes(point, mechanism), *drawn)
  backward = point["pass"] == "forward_backward"
  function = jax.jit(forward_backward if backward else forward)
  return Program(function, inputs, backward)


def _shapes(point: Point, mechanism: Any) -> tuple[jax.ShapeDtypeStruct, ...]:
  """Shapes of q, k and v."""
  sizes = dict(zip("BTHKV", (point[name] for name in _SIZES)))
  sizes |= {"G": sizes["H"], "r": mechanism.writes}
  kind = jnp.dtype(point["dtype"])
  return tuple(
      jax.ShapeDtypeStruct([sizes[axis] for axis in layout], kind)
      for layout in list(mechanism.layouts.values())[:3]
  )


def _gates(point: Point, mechanism: Any) -> tuple[jax.Array, ...]:
  """The mechanism's own random gates for a point, in its order."""
  if not mechanism.gates:
    return ()
  sizes = {name: point[name] for name in (*_SIZES, "dtype")}
  gates = mechanism.inputs(jax.random.key(point["seed"]), **sizes)[1]
  return tuple(gates[name] for name in mechanism.gates)


def inputs(point: Point, mechanism: Any) -> tuple[np.ndarray, ...]:
  """Inputs of a point: q, k, v of its corpus, the mechanism's random gates."""
  heads = point["heads"] * (mechanism.writes or 1)
  sizes = {name: point[name] for name in (*_SIZES, "dtype")}
  arrays = text.projected(
      point["corpus"], point["seed"], kv_heads=heads, **sizes
  )
  shapes = _shapes(point, mechanism)
  shaped = (x.reshape(like.shape) for x, like in zip(arrays, shapes))
  return (*shaped, *map(np.asarray, _gates(point, mechanism)))


def cotangent(point: Point, out: jax.ShapeDtypeStruct) -> np.ndarray:
  """The seeded cotangent a gradient is timed with."""
  generator = np.random.default_rng([point["seed"], point["length"]])
  return generator.standard_normal(out.shape, np.float32).astype(out.dtype)


def cost(point: Point, mechanism: Any, platform: str | None = None) -> Any:
  """Closed-form products and bytes of a point; None if there is no model.

  Args:
    point: what is measured.
    mechanism: the point's.
    platform: of XLA; by default that of the device at hand.
  """
  if mechanism.cost is None:
    return None
  names = "batch length heads width value_width causal chunk dtype".split()
  return mechanism.cost(
      point["form"],
      pass_=point["pass"],
      platform=platform or tuning.assumed(),
      **{name: point[name] for name in names},
  )
