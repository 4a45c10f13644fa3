"""Derivatives of an oracle by central differences in float64.

The five-point rule has error O(h^4) + O(eps / h): with h = 1e-3 about 1e-12
relative for the smooth functions here, second differences about 1e-8.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Arrays = Sequence[Array]

_POINTS = ((-2, 1 / 12), (-1, -8 / 12), (1, 8 / 12), (2, -1 / 12))


def directions(seed: int, arrays: Arrays) -> list[Array]:
  """Standard normal arrays of the shapes given."""
  generator = np.random.default_rng(seed)
  return [generator.standard_normal(np.shape(x)) for x in arrays]


def _moved(arrays: Arrays, direction: Arrays, distance: float) -> list[Array]:
  return [x + distance * d for x, d in zip(arrays, direction, strict=True)]


def tangent(
    function: Callable[..., Array],
    arrays: Arrays,
    direction: Arrays,
    step: float = 1e-3,
) -> Array:
  """The derivative of `function(*arrays)` along `direction`."""
  return sum(
      c / step * np.asarray(function(*_moved(arrays, direction, m * step)))
      for m, c in _POINTS
  )


def second(
    function: Callable[..., Array],
    arrays: Arrays,
    first_direction: Arrays,
    second_direction: Arrays,
    step: float = 1e-3,
) -> Array:
  """The mixed second derivative along the two directions."""

  def inner(*moved: Array) -> Array:
    return tangent(function, moved, first_direction, step)

  return tangent(inner, arrays, second_direction, step)
