"""The order in which points are visited, and by how many processes."""

from collections.abc import Mapping, Sequence
import random
from typing import Any

# Points at least whose peaks are read before they are timed: what is
# interrupted loses no more than these.
_TOGETHER = 12


def visiting(indices: Sequence[int], seed: int, replicate: int) -> list[int]:
  """Returns the order of a replicate: random, repeatable.

  Args:
    indices: of the points.
    seed: of the sweep.
    replicate: whose order it is.
  """
  order = list(indices)
  random.Random(f"{seed}/{replicate}").shuffle(order)
  return order


def groups(
    order: Sequence[int], points: Sequence[Mapping[str, Any]]
) -> list[list[int]]:
  """Returns points for one process after the other.

  Forms of the same point meet in the same process: they are compared.

  Args:
    order: indices of points, as `visiting` has them.
    points: of all indices.
  """
  places: dict[str, list[int]] = {}
  for index in order:
    own = {**points[index], "form": ""}
    places.setdefault(repr(sorted(own.items())), []).append(index)
  found: list[list[int]] = [[]]
  for members in places.values():
    if len(found[-1]) >= _TOGETHER:
      found.append([])
    found[-1] += members
  return found
