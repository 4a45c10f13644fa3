"""What a traced program is made of: its arrays, loops and constants."""

from collections.abc import Iterator
import math
from typing import Any, NamedTuple

import jax
from jax.extend import core


class Equation(NamedTuple):
  """An equation and the trip counts of the loops around it."""

  equation: Any
  trips: tuple[int, ...]


def _inner(value: Any) -> Iterator[Any]:
  """The jaxprs in one parameter of an equation."""
  if isinstance(value, core.ClosedJaxpr):
    yield value.jaxpr
  elif isinstance(value, core.Jaxpr):
    yield value
  elif isinstance(value, tuple | list):
    for item in value:
      yield from _inner(item)


def equations(jaxpr: Any, trips: tuple[int, ...] = ()) -> Iterator[Equation]:
  """Every equation of a jaxpr, however deep."""
  for equation in jaxpr.eqns:
    yield Equation(equation, trips)
    inside = trips
    if equation.primitive.name == "scan":
      inside = (*trips, equation.params["length"])
    for value in equation.params.values():
      for jaxpr_inside in _inner(value):
        yield from equations(jaxpr_inside, inside)


def largest(closed: Any) -> int:
  """Number of elements of the largest array that any equation makes."""
  return max(
      math.prod(out.aval.shape)
      for equation, _ in equations(closed.jaxpr)
      for out in equation.outvars
      if hasattr(out.aval, "shape")
  )


def deepest(closed: Any) -> int:
  """The most times that any equation is executed by nested scans."""
  return max(math.prod(trips) for _, trips in equations(closed.jaxpr))


def primitives(closed: Any) -> set[str]:
  """Names of the primitives used."""
  return {eq.primitive.name for eq, _ in equations(closed.jaxpr)}


def _closed(value: Any) -> Iterator[Any]:
  if isinstance(value, core.ClosedJaxpr):
    yield value
  elif isinstance(value, tuple | list):
    for item in value:
      yield from _closed(item)


def captured(closed: Any) -> int:
  """Number of elements of all the constants that the program holds."""
  total = sum(math.prod(jax.numpy.shape(c)) for c in closed.consts)
  for equation, _ in equations(closed.jaxpr):
    for value in equation.params.values():
      for inside in _closed(value):
        total += sum(math.prod(jax.numpy.shape(c)) for c in inside.consts)
    for operand in equation.invars:
      if isinstance(operand, core.Literal):
        total += math.prod(jax.numpy.shape(operand.val))
  return total
