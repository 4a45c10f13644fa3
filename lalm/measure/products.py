"""Products of an equation: how many operations they are, and of what kind."""

import math
from typing import Any

import jax

from lalm.measure import kinds

_DTYPES = {
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    "TF32": kinds.FAST,
}
_DEFAULT = (None, jax.lax.Precision.DEFAULT, jax.lax.DotAlgorithmPreset.DEFAULT)


def of(equation: Any) -> int | None:
  """Returns 2mnk of a product or convolution; None for another equation."""
  name = equation.primitive.name
  if name == "dot_general":
    return _dot(equation)
  return _convolution(equation) if name == "conv_general_dilated" else None


def kind(equation: Any) -> str:
  """Returns the kind (`kinds`) of a product or convolution.

  A preset of an algorithm that no machine here has a rate for is its own kind.
  """
  asked = equation.params["precision"]
  if isinstance(asked, jax.lax.DotAlgorithmPreset) and asked not in _DEFAULT:
    operand, *_, last = asked.name.split("_")
    plain = operand in _DTYPES and last in _DTYPES
    return _DTYPES[operand] if plain else asked.name
  dtypes = (atom.aval.dtype for atom in equation.invars[:2])
  widest = max(dtypes, key=lambda dtype: dtype.itemsize).name
  if widest != "float32":
    return widest
  each = asked if isinstance(asked, tuple) else (asked, asked)
  if all(one in _DEFAULT for one in each):
    return kinds.FAST
  return widest if jax.lax.Precision.HIGHEST in each else kinds.HIGH


def _size(atom: Any) -> int:
  return math.prod(int(extent) for extent in atom.aval.shape)


def _dot(equation: Any) -> int:
  """2 x elements of the output x length of the contraction."""
  (contracted, _), _ = equation.params["dimension_numbers"]
  shape = equation.invars[0].aval.shape
  inner = math.prod(int(shape[axis]) for axis in contracted)
  return 2 * _size(equation.outvars[0]) * inner


def _convolution(equation: Any) -> int:
  """2 x elements of the output x kernel elements behind each of them.

  Zeros that dilate the input, as a gradient's do where strides are, are none.
  """
  params = equation.params
  shapes = [atom.aval.shape for atom in (*equation.invars, *equation.outvars)]
  given, kernel, made = (
      [int(shape[axis]) for axis in order]
      for shape, order in zip(shapes, params["dimension_numbers"])
  )
  spatial = zip(
      given[2:], kernel[2:], made[2:], params["window_strides"],
      params["padding"], params["lhs_dilation"], params["rhs_dilation"],
  )  # fmt: skip
  # Of batch, features, and input features behind each: kernels know groups.
  return 2 * made[0] * made[1] * kernel[1] * math.prod(map(_taps, spatial))


def _taps(dimension: tuple) -> int:
  """Pairs of an output and a kernel element in one dimension."""
  given, kernel, made, stride, (before, _), dilated, apart = dimension
  if dilated == 1:
    return kernel * made
  last = (given - 1) * dilated
  places = (
      output * stride + tap * apart - before
      for output in range(made)
      for tap in range(kernel)
  )
  return sum(place % dilated == 0 and 0 <= place <= last for place in places)
