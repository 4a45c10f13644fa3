"""Traffic, collectives and cycles of a compiled program, read from its text.

XLA's own `cost_analysis` counts the body of a loop once. Here each instruction
counts as often as it runs (see `loops`). Of branches the dearest counts, by
traffic, collectives and cycles each.

An instruction reads its operands and writes its result once. A slice reads what
it takes, an update or a scatter in place writes what it changes, also inside a
fusion; what the compiler holds on the chip (memory spaces other than 0) moves
nothing.
"""

from collections.abc import Callable
import functools
import re
from typing import Any, NamedTuple

from lalm.measure.targets import collectives
from lalm.measure.targets import instructions
from lalm.measure.targets import loops
from lalm.measure.targets.instructions import Array
from lalm.measure.targets.instructions import Body
from lalm.measure.targets.instructions import Instruction

Unreadable = instructions.Unreadable
_CYCLES = re.compile(r'"estimated_cycles":"?(\d+)')
# They move nothing by themselves.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast",
    "after-all", "partition-id", "replica-id", "opt-barrier", "add-dependency",
    "iota",
}  # fmt: skip

# Memory set aside, and memory under another name.
_IDLE = re.compile(r'custom_call_target="(AllocateBuffer|ConcatBitcast)"')
_SLICES = ("dynamic-slice", "slice", "gather")  # they read what they return
_ALIASES = re.compile(r"output_to_operand_aliasing=\{(.*?\))\}")
_ALIAS = re.compile(r"\{(\d*)\}: \(\d+, ")


class Costs(NamedTuple):
  """What a program does on one device.

  Attributes:
    traffic: bytes to and from main memory.
    collectives: kind -> (how often, bytes of operands or results, whichever are
      more).
    cycles: as the compiler estimates; 0 where it says nothing.
  """

  traffic: float
  collectives: dict[str, tuple[int, float]]
  cycles: float

  def times(self, count: int) -> "Costs":
    """The same, so often."""
    moved = {
        k: (n * count, b * count) for k, (n, b) in self.collectives.items()
    }
    return Costs(self.traffic * count, moved, self.cycles * count)

  def plus(self, other: "Costs") -> "Costs":
    """Both, one after the other."""
    moved = dict(self.collectives)
    for kind, (count, size) in other.collectives.items():
      had = moved.get(kind, (0, 0.0))
      moved[kind] = (had[0] + count, had[1] + size)
    traffic = self.traffic + other.traffic
    return Costs(traffic, moved, self.cycles + other.cycles)

  def most(self, other: "Costs") -> "Costs":
    """The larger of each: of two, one happens."""
    moved = dict(self.collectives)
    for kind, (count, size) in other.collectives.items():
      had = moved.get(kind, (0, 0.0))
      moved[kind] = (max(had[0], count), max(had[1], size))
    cycles = max(self.cycles, other.cycles)
    return Costs(max(self.traffic, other.traffic), moved, cycles)


NOTHING = Costs(0.0, {}, 0.0)


def read(text: str) -> Costs:
  """Returns the costs of a compiled program on one device.

  Args:
    text: of a scheduled HLO module, `compiled.as_text()`.

  Raises:
    Unreadable: a loop that does not say how often it turns, or elements of an
      unknown kind.
  """
  return _Module(text).costs()


class _Module:
  """The computations of a module by name."""

  def __init__(self, text: str) -> None:
    self._computations, self._entry = instructions.computations(text)
    self._starts = collectives.started(self._computations)

  def costs(self) -> Costs:
    """Of the entry computation."""
    return self._of(self._entry)

  @functools.cache
  def _of(self, name: str) -> Costs:
    body = self._computations[name]
    total = NOTHING
    for instruction in body.values():
      total = total.plus(self._of_instruction(instruction, body))
    return total

  def _of_instruction(self, made: Instruction, body: Body) -> Costs:
    opcode = made.opcode
    idle = opcode in _FREE or opcode.endswith(("-done", "-update"))
    if idle or (opcode == "custom-call" and _IDLE.search(made.line)):
      return NOTHING
    if opcode == "while":
      turn = self._of(made.called["body"][0])
      turn = turn.plus(self._of(made.called["condition"][0]))
      return turn.times(loops.turns(made, body, self._computations))
    if opcode == "conditional":
      branches = [n for names in made.called.values() for n in names]
      return functools.reduce(Costs.most, map(self._of, branches))
    if opcode in ("call", "async-start"):
      return self._sum(n for names in made.called.values() for n in names)
    cycles = _CYCLES.search(made.line)
    spent = float(cycles.group(1)) if cycles else 0.0
    if opcode == "fusion":
      sent = self._sent(made)
      return sent.plus(Costs(self._fused(made, body), {}, spent))
    moved = _moved(made, [body[n] for n in made.operands if n in body])
    if kind := collectives.kind(made):
      size = collectives.size(made, body)
      return Costs(moved, {kind: (1, size)}, spent)
    return Costs(moved, {}, spent)

  def _sum(self, names: Any) -> Costs:
    return functools.reduce(Costs.plus, map(self._of, names), NOTHING)

  def _sent(self, made: Instruction) -> Costs:
    """The collectives in a fusion."""
    inside = self._inside(made)
    total = NOTHING
    for kind, size in collectives.fused(inside, self._starts):
      total = total.plus(Costs(0.0, {kind: (1, size)}, 0.0))
    for inner in inside.values():
      if inner.opcode == "fusion":
        total = total.plus(self._sent(inner))
    return total

  def _inside(self, made: Instruction) -> Body:
    return self._computations[made.called["calls"][0]]

  def _fused(self, made: Instruction, body: Body) -> float:
    """Bytes of main memory that a fusion reads and writes."""
    inside = self._inside(made)
    roots = instructions.roots(inside)
    left = _left(made, roots)
    places = {i.place: i for i in inside.values() if i.opcode == "parameter"}
    operands = [body[name] for name in made.operands if name in body]
    total = 0.0
    for place, operand in enumerate(operands):
      whole = sum(array.traffic for array in operand.arrays)
      if whole:
        returned = lambda result, whole=whole: 0.0 if result in left else whole
        total += self._read(places[place].name, inside, whole, returned)
    for place, array in enumerate(made.arrays):
      if array.main and place not in left:
        total += self._written(roots[place], inside, array)
    return total

  def _read(
      self,
      value: str,
      inside: Body,
      whole: float,
      returned: Callable[[int], float],
  ) -> float:
    """Bytes of a value in main memory that a fusion reads.

    Args:
      value: its name.
      inside: the fused computation.
      whole: bytes of all of it.
      returned: from the place of a result that the value is, to what is read of
        it then.
    """
    part = 0.0
    if inside[value].root:
      part += returned(0)
    for reader in inside.values():
      if value in reader.operands:
        part += self._read_by(reader, value, inside, whole, returned)
    return min(whole, part)

  def _read_by(
      self,
      reader: Instruction,
      value: str,
      inside: Body,
      whole: float,
      returned: Callable[[int], float],
  ) -> float:
    """Of which what one instruction reads."""
    first = reader.operands[0] == value
    if reader.opcode in _SLICES and first:
      return reader.held
    if reader.opcode == "bitcast":
      return self._read(reader.name, inside, whole, returned)
    if reader.opcode == "fusion":  # they are nested
      return self._read_nested(reader, value, inside, whole, returned)
    if reader.opcode == "tuple" and reader.root:
      places = [i for i, name in enumerate(reader.operands) if name == value]
      return sum(map(returned, places))
    if reader.opcode == "dynamic-update-slice" and first:
      return 0.0  # what an update leaves stays where it is
    if reader.opcode == "scatter" and value in _scattered(reader):
      return inside[reader.operands[-1]].held  # what it changes
    if self._goes_on(reader, inside):
      return 0.0
    return whole

  def _read_nested(
      self,
      reader: Instruction,
      value: str,
      inside: Body,
      whole: float,
      returned: Callable[[int], float],
  ) -> float:
    """What a fusion in a fusion reads, and what reads the value it returns."""

    def further(place: int) -> float:
      if len(reader.arrays) == 1:
        return self._read(reader.name, inside, whole, returned)
      part = returned(place) if reader.root else 0.0
      for made in inside.values():
        taken = made.opcode == "get-tuple-element" and made.element == place
        if taken and made.operands[0] == reader.name:
          part += self._read(made.name, inside, whole, returned)
      return part

    inner = self._inside(reader)
    return sum(
        self._read(given.name, inner, whole, further)
        for given in inner.values()
        if given.opcode == "parameter" and reader.operands[given.place] == value
    )

  def _written(self, root: Instruction, inside: Body, array: Array) -> float:
    """Bytes of one of its results that a fusion writes."""
    if root.opcode == "bitcast":
      return self._written(inside[root.operands[0]], inside, array)
    if root.opcode == "dynamic-update-slice":
      return inside[root.operands[1]].held
    if root.opcode == "scatter":
      return inside[root.operands[-1]].held
    if root.opcode == "fusion" and len(root.arrays) == 1:
      inner = self._inside(root)
      last = instructions.roots(inner)[0]
      while last.opcode == "bitcast":
        last = inner[last.operands[0]]
      if last.opcode == "parameter":
        return self._written(inside[root.operands[last.place]], inside, array)
      return self._written(last, inner, array)
    return 0.0 if self._goes_on(root, inside) else array.traffic

  def _goes_on(self, made: Instruction, inside: Body) -> bool:
    """Whether it goes on with, or ends, a collective started elsewhere."""
    named = [made, *(inside[n] for n in made.operands if n in inside)]
    return made.opcode in ("custom-call", *collectives.KINDS) and any(
        collectives.kind(x) and collectives.goes_on(x, self._starts)
        for x in named
    )


def _left(made: Instruction, roots: list[Instruction]) -> set[int]:
  """The results of a fusion that are operands, left where they are."""
  found = _ALIASES.search(made.line)
  places = _ALIAS.findall(found.group(1)) if found else []
  aliased = {int(place or 0) for place in places}
  return {
      place
      for place in aliased
      if roots[place].opcode == "parameter" or collectives.starts(roots[place])
  }


def _scattered(made: Instruction) -> tuple[str, ...]:
  """The operands of a scatter that it changes: indices and updates follow."""
  return made.operands[: (len(made.operands) - 1) // 2]


def _moved(made: Instruction, operands: list[Instruction]) -> float:
  kind = made.opcode.removesuffix("-start")
  results = collectives.results(made)
  write = sum(array.traffic for array in results)
  main = bool(operands) and operands[0].main
  if kind in _SLICES:
    return write + (sum(a.held for a in results) if main else 0)
  if kind == "dynamic-update-slice":
    update = sum(array.traffic for array in operands[1].arrays)
    return update + (operands[1].held if made.main else 0)
  changed = len(_scattered(made)) if kind == "scatter" else 0
  read = sum(a.traffic for x in operands[changed:] for a in x.arrays)
  if kind == "scatter":  # it reads and writes what it changes
    return read + (2 * changed * operands[-1].held if made.main else 0)
  return read + write
