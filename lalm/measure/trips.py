"""How often a `while` of a jaxpr turns: its counter tells, or nothing does."""

from collections.abc import Mapping
from typing import Any

# Of two operands the other way round.
MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "ne": "ne"}


def integer(value: Any) -> int | None:
  """Returns a value as a Python integer if it is a concrete scalar integer."""
  dtype = getattr(value, "dtype", None)
  if isinstance(value, int):
    return int(value)
  if dtype is None or getattr(value, "shape", None) != ():
    return None
  # A random key has a dtype without a kind.
  known = getattr(dtype, "kind", None) in ("i", "u", "b")
  return int(value) if known else None


def lookup(atom: Any, known: Mapping[Any, int]) -> int | None:
  """Returns the integer of a literal or variable, None where not known."""
  return integer(atom.val) if hasattr(atom, "val") else known.get(atom)


def of_while(
    test: Any, body: Any, split: tuple[int, int], before: Mapping[Any, int]
) -> int | None:
  """Returns the trips of a counting loop; None where it is no such loop.

  Args:
    test: the condition; it must be one comparison of two scalars.
    body: the body, which must step one of them by a constant and leave the
      other alone.
    split: numbers of constants of the condition and of the body.
    before: the known inputs of the condition before the first trip.
  """
  if len(test.eqns) != 1 or test.eqns[0].primitive.name not in MIRRORED:
    return None
  if test.outvars[0] is not test.eqns[0].outvars[0]:
    return None  # it compares, but goes on by something else
  comparison = test.eqns[0].primitive.name
  left, right = test.eqns[0].invars
  steps = _step(left, test, body, split), _step(right, test, body, split)
  first, last = lookup(left, before), lookup(right, before)
  if first is None or last is None:
    return None
  if steps[0] == 0:  # the bound is on the left: turn the comparison round
    comparison, first, last = MIRRORED[comparison], last, first
    steps = steps[1], steps[0]
  step, still = steps
  if step is None or still != 0:
    return None  # not a counter, or a bound that moves
  return turns(comparison, first, last, step)


def _step(
    atom: Any, test: Any, body: Any, split: tuple[int, int]
) -> int | None:
  """What one trip adds to this input of the condition; None if unknown."""
  if hasattr(atom, "val") or atom not in test.invars:
    return 0
  place = test.invars.index(atom) - split[0]
  if place < 0:
    return 0  # a constant of the condition
  before, after = body.invars[split[1] + place], body.outvars[place]
  if after is before:
    return 0
  for equation in body.eqns:
    if after in equation.outvars:
      return _increment(equation, before)
  return None


def _increment(equation: Any, before: Any) -> int | None:
  """The literal that `before + literal` or `before - literal` adds."""
  if equation.primitive.name not in ("add", "sub"):
    return None
  left, right = equation.invars
  if equation.primitive.name == "add" and right is before:
    left, right = right, left
  if left is not before or not hasattr(right, "val"):
    return None
  value = integer(right.val)
  if value is None:
    return None
  return value if equation.primitive.name == "add" else -value


def turns(comparison: str, first: int, last: int, step: int) -> int | None:
  """Returns the trips of `while first <comparison> last: first += step`.

  Args:
    comparison: lt, le, gt, ge or ne.
    first: the counter before the first trip.
    last: the bound.
    step: what a trip adds.

  Returns:
    How many; None where they do not end.
  """
  gap = last - first
  if comparison in ("gt", "ge"):
    comparison, gap, step = MIRRORED[comparison], -gap, -step
  if comparison == "le":
    comparison, gap = "lt", gap + 1
  if comparison == "lt":
    if gap <= 0:
      return 0
    return -(-gap // step) if step > 0 else None
  return gap // step if step and gap % step == 0 and gap // step >= 0 else None
