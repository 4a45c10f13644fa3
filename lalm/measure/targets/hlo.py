"""Traffic, collectives and cycles of a compiled program, read from its text.

XLA's own `cost_analysis` counts the body of a loop once. Here each instruction
counts as often as it runs. How often a loop turns, the compiler writes down
(`known_trip_count`), or its condition says: a counter from a constant, by one,
below a constant. Of branches the dearest counts.

An instruction reads its operands and writes its result once. A slice reads what
it takes, an update in place writes what it changes, also inside a fusion; what
the compiler holds on the chip (memory spaces other than 0) moves nothing.
"""

import functools
import math
import re
from typing import Any, NamedTuple

_BITS = {
    "pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16,
    "s32": 32, "u32": 32, "s64": 64, "u64": 64, "f16": 16, "bf16": 16,
    "f32": 32, "f64": 64, "c64": 64, "c128": 128, "token": 0, "opaque": 0,
}  # fmt: skip
_ARRAY = re.compile(r"([a-z]+[0-9]*[a-z0-9]*)\[([0-9,<=]*)\](\{[^}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"(calls|body|condition|to_apply|true_computation|false_computation"
    r"|branch_computations|called_computations)=(\{[^}]*\}|%[\w.\-]+)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_INDEX = re.compile(r"index=(\d+)")
_CONSTANT = re.compile(r"constant\((-?\d+)\)")
_CYCLES = re.compile(r'"estimated_cycles":"?(\d+)')
COLLECTIVES = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
    "ragged-all-to-all",
)
# They move nothing by themselves.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast",
    "after-all", "partition-id", "replica-id", "opt-barrier", "add-dependency",
    "iota",
}  # fmt: skip

_SLICES = ("dynamic-slice", "slice", "gather")  # they read what they return


class Unreadable(ValueError):
  """A program that does not say how often a part of it runs."""


class Array(NamedTuple):
  """Bytes of an array, and whether they are in the chip's main memory."""

  size: int
  main: bool

  @property
  def traffic(self) -> int:
    """Bytes that reading or writing it moves."""
    return self.size if self.main else 0


class Instruction(NamedTuple):
  """One line of a computation."""

  name: str
  opcode: str
  arrays: tuple[Array, ...]
  operands: tuple[str, ...]
  called: dict[str, tuple[str, ...]]
  root: bool
  line: str

  @property
  def place(self) -> int:
    """Of a parameter, which one it is."""
    return int(self.line.rpartition("parameter(")[2].partition(")")[0])

  @property
  def size(self) -> int:
    """Bytes of the result."""
    return sum(array.size for array in self.arrays)


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


NOTHING = Costs(0.0, {}, 0.0)


def read(text: str) -> Costs:
  """Returns the costs of a compiled program on one device.

  Args:
    text: of a scheduled HLO module, `compiled.as_text()`.

  Raises:
    Unreadable: a loop that does not say how often it turns.
  """
  return _Module(text).costs()


class _Module:
  """The computations of a module by name."""

  def __init__(self, text: str) -> None:
    self._computations: dict[str, dict[str, Instruction]] = {}
    self._entry = ""
    current: dict[str, Instruction] | None = None
    for line in text.splitlines():
      if begins := _COMPUTATION.match(line):
        current = self._computations.setdefault(begins.group(2), {})
        self._entry = begins.group(2) if begins.group(1) else self._entry
      elif line.startswith("}"):
        current = None
      elif current is not None and (found := _INSTRUCTION.match(line)):
        made = _instruction(
            found.group(2), found.group(3), bool(found.group(1))
        )
        current[made.name] = made

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

  def _of_instruction(
      self, made: Instruction, body: dict[str, Instruction]
  ) -> Costs:
    opcode = made.opcode
    if opcode in _FREE or opcode.endswith(("-done", "-update")):
      return NOTHING
    if opcode == "while":
      turn = self._of(made.called["body"][0])
      turn = turn.plus(self._of(made.called["condition"][0]))
      return turn.times(self._turns(made, body))
    if opcode == "conditional":
      branches = [n for names in made.called.values() for n in names]
      return max(map(self._of, branches), key=lambda c: (c.traffic, c.cycles))
    if opcode in ("call", "async-start"):
      return self._sum(n for names in made.called.values() for n in names)
    kind = opcode.removesuffix("-start")
    cycles = _CYCLES.search(made.line)
    spent = float(cycles.group(1)) if cycles else 0.0
    if kind in COLLECTIVES:
      given = sum(body[n].size for n in made.operands if n in body)
      size = max(given, sum(array.size for array in _results(made)))
      return Costs(self._moved(made, body), {kind: (1, float(size))}, spent)
    return Costs(self._moved(made, body), {}, spent)

  def _turns(self, loop: Instruction, body: dict[str, Instruction]) -> int:
    """How often a loop turns."""
    if trips := _TRIPS.search(loop.line):
      return int(trips.group(1))
    condition = self._computations[loop.called["condition"][0]]
    test = next(i for i in condition.values() if i.root)
    if test.opcode == "compare" and "direction=LT" in test.line:
      first, last = (
          self._carried(condition[name], condition, loop, body)
          for name in test.operands
      )
      if first is not None and last is not None:
        return max(0, last - first)
    raise Unreadable(f"{loop.name}: its number of turns is not known")

  def _carried(
      self,
      made: Instruction,
      inside: dict[str, Instruction],
      loop: Instruction,
      body: dict[str, Instruction],
  ) -> int | None:
    """An integer that a loop's condition reads, before the first turn."""
    made = _origin(made, inside)
    if made.opcode == "get-tuple-element":
      given = body[loop.operands[0]]
      index = _INDEX.search(made.line)
      if given.opcode != "tuple" or index is None:
        return None
      made = _origin(body[given.operands[int(index.group(1))]], body)
    constant = _CONSTANT.search(made.line)
    if made.opcode != "constant" or constant is None:
      return None
    return int(constant.group(1))

  def _sum(self, names: Any) -> Costs:
    return functools.reduce(Costs.plus, map(self._of, names), NOTHING)

  def _moved(self, made: Instruction, body: dict[str, Instruction]) -> float:
    """Bytes of main memory that an instruction reads and writes."""
    operands = [body[name] for name in made.operands if name in body]
    if made.opcode != "fusion":
      return _moved(made, operands)
    inside = self._computations[made.called["calls"][0]]
    places = {i.place: i for i in inside.values() if i.opcode == "parameter"}
    total = 0.0
    for place, operand in enumerate(operands):
      whole = sum(array.traffic for array in operand.arrays)
      if whole:
        total += self._read(places[place].name, inside, whole)
    roots = _roots(inside)
    for array, root in zip(made.arrays, roots, strict=True):
      total += self._written(root, inside, array) if array.main else 0
    return total

  def _read(
      self, value: str, inside: dict[str, Instruction], whole: float
  ) -> float:
    """Bytes of a value in main memory that a fusion reads."""
    part = 0.0
    for reader in inside.values():
      if value not in reader.operands:
        continue
      first = reader.operands[0] == value
      if reader.opcode in _SLICES and first:
        part += reader.size
      elif reader.opcode == "bitcast":
        part += self._read(reader.name, inside, whole)
      elif reader.opcode == "fusion":  # they are nested
        inner = self._computations[reader.called["calls"][0]]
        for given in inner.values():
          if given.opcode == "parameter":
            if reader.operands[given.place] == value:
              part += self._read(given.name, inner, whole)
      elif not (reader.opcode == "dynamic-update-slice" and first):
        return whole  # what an update leaves stays where it is
    return min(whole, part)

  def _written(
      self, root: Instruction, inside: dict[str, Instruction], array: Array
  ) -> float:
    """Bytes of one of its results that a fusion writes."""
    while root.opcode == "bitcast":
      root = inside[root.operands[0]]
    if root.opcode == "dynamic-update-slice":
      return inside[root.operands[1]].size
    if root.opcode == "fusion" and len(root.arrays) == 1:
      inner = self._computations[root.called["calls"][0]]
      return self._written(_roots(inner)[0], inner, array)
    return array.traffic


def _roots(inside: dict[str, Instruction]) -> list[Instruction]:
  """What a computation returns, one an array."""
  root = next(i for i in inside.values() if i.root)
  if root.opcode != "tuple":
    return [root] * max(1, len(root.arrays))
  return [inside[name] for name in root.operands]


def _origin(made: Instruction, body: dict[str, Instruction]) -> Instruction:
  """Where a copied value comes from."""
  while made.opcode in ("copy", "bitcast") and made.operands[0] in body:
    made = body[made.operands[0]]
  return made


def _moved(made: Instruction, operands: list[Instruction]) -> float:
  write = sum(array.traffic for array in _results(made))
  if made.opcode in _SLICES:
    return write + (write if operands and _main(operands[0]) else 0)
  if made.opcode == "dynamic-update-slice":
    update = sum(array.traffic for array in operands[1].arrays)
    return update + (operands[1].size if _main(made) else 0)
  read = sum(a.traffic for operand in operands for a in operand.arrays)
  return read + write


def _results(made: Instruction) -> tuple[Array, ...]:
  """The arrays that are written: what starts names its operands too."""
  count = len(made.operands)
  if made.opcode == "copy-start":
    return made.arrays[:1]
  if made.opcode in ("all-gather-start", "collective-permute-start"):
    return made.arrays[count : 2 * count]
  return made.arrays


def _main(made: Instruction) -> bool:
  return any(array.main for array in made.arrays)


def _instruction(name: str, rest: str, root: bool) -> Instruction:
  """Reads one line: result, opcode, operands, called computations."""
  result, opcode, inside = _split(rest)
  called = {
      key: tuple(_NAME.findall(names)) for key, names in _CALLED.findall(rest)
  }
  return Instruction(
      name,
      opcode,
      tuple(_arrays(result)),
      tuple(_NAME.findall(inside)),
      called,
      root,
      rest,
  )


def _split(rest: str) -> tuple[str, str, str]:
  """The result's shape, the opcode and what stands in its brackets."""
  depth = end = 0
  for end, letter in enumerate(rest):
    depth += (letter in "({[") - (letter in ")}]")
    if letter == " " and depth == 0:
      break
  shape, after = rest[:end], rest[end + 1 :]
  opcode, _, tail = after.partition("(")
  depth = 1
  for place, letter in enumerate(tail):
    depth += (letter == "(") - (letter == ")")
    if depth == 0:
      return shape, opcode, tail[:place]
  return shape, opcode, tail


def _arrays(shape: str) -> list[Array]:
  """The arrays of a shape or of a tuple of shapes."""
  found = []
  for kind, sizes, layout in _ARRAY.findall(shape):
    if kind not in _BITS:
      continue
    count = math.prod(int(n.strip("<=")) for n in sizes.split(",") if n)
    space = _SPACE.search(layout or "")
    main = space is None or space.group(1) == "0"
    found.append(Array(-(-count * _BITS[kind] // 8), main))
  return found
