"""How often a loop of a compiled program turns.

The compiler writes it down (`known_trip_count`), or it follows from a counter:
constant at first, with a constant added in each turn, compared with a limit
that no turn changes. TPUs have a counter of 64 bits as two words, of which the
lower one counts. Whatever else ends a loop is not known before it runs.
"""

from collections.abc import Mapping
import re

from lalm.measure import trips
from lalm.measure.targets import instructions
from lalm.measure.targets.instructions import Body
from lalm.measure.targets.instructions import Instruction
from lalm.measure.targets.instructions import Unreadable

_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_STEP = re.compile(r'"known_init_step":\{[^}]*"step":"(\d+)"')
_DIRECTION = re.compile(r"direction=(\w+)")
_COPIES = ("copy", "bitcast", "reshape")

# An element of what a loop carries (None: of nothing) and what is added to it.
_Sum = tuple[int | None, int]


def turns(
    loop: Instruction, body: Body, computations: Mapping[str, Body]
) -> int:
  """Returns how often a loop turns.

  Args:
    loop: a `while`.
    body: the computation it is in.
    computations: of the module, by name.

  Raises:
    Unreadable: it is not known before the loop runs.
  """
  step = _STEP.search(loop.line)
  if step and int(step.group(1)) >= 2**31:
    # Of an unsigned counter that goes down a GPU's compiler says one turn.
    raise Unreadable(f"{loop.name}: its counter goes down and is unsigned")
  if trips := _TRIPS.search(loop.line):
    return int(trips.group(1))
  return _Loop(loop, body, computations).turns()


class _Loop:
  """A loop whose turns its own code must tell."""

  def __init__(
      self, loop: Instruction, body: Body, computations: Mapping[str, Body]
  ) -> None:
    self._loop = loop
    self._outside = body
    self._computations = computations
    self._turn = computations[loop.called["body"][0]]

  def turns(self) -> int:
    """Of a counter with a constant step and a limit that stays."""
    condition = self._computations[self._loop.called["condition"][0]]
    test = self._test(condition)
    found = _DIRECTION.search(test.line) if test.opcode == "compare" else None
    how = found.group(1).lower() if found else ""
    if how in trips.MIRRORED:
      one, other = (self._sum(name, condition) for name in test.operands)
      for way, counter, limit in (
          (how, one, other),
          (trips.MIRRORED[how], other, one),
      ):
        if (count := self._counted(way, counter, limit)) is not None:
          return count
    raise Unreadable(f"{self._loop.name}: its number of turns is not known")

  def _counted(
      self, way: str, counter: _Sum | None, limit: _Sum | None
  ) -> int | None:
    """The turns while a counter compares so with a limit."""
    last = self._constant(limit)
    if counter is None or counter[0] is None or last is None:
      return None
    first, step = self._first(counter[0]), self._step(counter[0])
    if first is None or not step:
      return None
    return trips.turns(way, first + counter[1], last, step)

  def _test(self, condition: Body) -> Instruction:
    """The comparison that a loop goes on with: of two words, the lower's.

    high < c or (high = c and low < limit), where high begins as c.
    """
    test = instructions.root(condition)
    both = [n for n in test.operands if condition[n].opcode == "and"]
    if test.opcode != "or" or not both:
      return test
    parts = [condition[name] for name in condition[both[0]].operands]
    same = [part for part in parts if "direction=EQ" in part.line]
    lower = [part for part in parts if part not in same]
    if len(same) != 1 or len(lower) != 1:
      return test
    high, c = (self._sum(name, condition) for name in same[0].operands)
    begins = None if high is None or high[0] is None else self._first(high[0])
    known = begins is not None and begins == self._constant(c)
    return lower[0] if known else test

  def _step(self, place: int) -> int | None:
    """What each turn adds to an element; None where that is not so much."""
    made = instructions.root(self._turn)
    if made.opcode != "tuple":
      return None
    after = self._sum(made.operands[place], self._turn)
    return after[1] if after and after[0] == place else None

  def _first(self, place: int) -> int | None:
    """An element before the first turn, where that is a constant."""
    given = self._outside[self._loop.operands[0]]
    if given.opcode != "tuple":
      return None
    found = self._sum(given.operands[place], self._outside)
    return found[1] if found and found[0] is None else None

  def _constant(self, found: _Sum | None) -> int | None:
    """The same in every turn: a constant, or one that no turn changes."""
    if found is None or found[0] is None:
      return None if found is None else found[1]
    if not self._kept(found[0]):
      return None
    first = self._first(found[0])
    return None if first is None else first + found[1]

  def _kept(self, place: int) -> bool:
    """Whether a turn leaves an element as it was."""
    made = instructions.root(self._turn)
    if made.opcode != "tuple":
      return False
    source = self._turn[made.operands[place]]
    while source.opcode in _COPIES:
      source = self._turn[source.operands[0]]
    carried = source.opcode == "get-tuple-element" and source.element == place
    return carried and self._turn[source.operands[0]].opcode == "parameter"

  def _sum(
      self, name: str, body: Body, given: tuple[_Sum | None, ...] | None = None
  ) -> _Sum | None:
    """A value as an element of what is carried and a constant added to it.

    Args:
      name: of the value.
      body: the computation it is in.
      given: of a fused computation, its parameters; None of a loop's own, whose
        parameter is what is carried.
    """
    made = body[name]
    if made.opcode == "constant":
      return None if made.constant is None else (None, made.constant)
    if made.opcode in _COPIES:
      return self._sum(made.operands[0], body, given)
    if made.opcode == "parameter":
      return given[made.place] if given is not None else None
    if made.opcode == "get-tuple-element":
      return self._element(made, body, given)
    if made.opcode == "fusion":
      return self._fused(made, 0, body, given)
    if made.opcode == "add":
      return self._added(*(self._sum(n, body, given) for n in made.operands))
    return None

  def _element(
      self,
      made: Instruction,
      body: Body,
      given: tuple[_Sum | None, ...] | None,
  ) -> _Sum | None:
    source = body[made.operands[0]]
    if source.opcode == "parameter" and given is None:
      return None if body is self._outside else (made.element, 0)
    if source.opcode == "fusion":
      return self._fused(source, made.element, body, given)
    return None

  def _fused(
      self,
      made: Instruction,
      place: int,
      body: Body,
      given: tuple[_Sum | None, ...] | None,
  ) -> _Sum | None:
    """One result of a fusion."""
    inner = self._computations[made.called["calls"][0]]
    operands = tuple(self._sum(name, body, given) for name in made.operands)
    return self._sum(instructions.roots(inner)[place].name, inner, operands)

  def _added(self, first: _Sum | None, second: _Sum | None) -> _Sum | None:
    """A sum of which at most one part changes from turn to turn."""
    if first is None or second is None:
      return None
    for one, other in ((first, second), (second, first)):
      constant = self._constant(other)
      if constant is not None:
        return one[0], one[1] + constant
    return None
