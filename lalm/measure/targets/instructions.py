"""The instructions of a compiled program's text (scheduled HLO).

Each line names a result, its shape, an opcode, operands and the computations
that it calls. Only what costs need is read.
"""

import math
import re
from typing import NamedTuple

_BITS = {
    "pred": 8, "s16": 16, "u16": 16, "s32": 32, "u32": 32, "s64": 64, "u64": 64,
    "s1": 1, "u1": 1, "s2": 2, "u2": 2, "s4": 4, "u4": 4, "s8": 8, "u8": 8,
    "f16": 16, "bf16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128,
    "f4e2m1fn": 4, "f8e3m4": 8, "f8e4m3": 8, "f8e4m3b11fnuz": 8,
    "f8e4m3fn": 8, "f8e4m3fnuz": 8, "f8e5m2": 8, "f8e5m2fnuz": 8,
    "f8e8m0fnu": 8, "token": 0, "opaque": 0,
}  # fmt: skip
_ARRAY = re.compile(r"([a-z]+[0-9]*[a-z0-9]*)\[([0-9,<=]*)\](\{[^}]*\})?")
_ORDER = re.compile(r"\{([0-9,]*)")
_TILE = re.compile(r":T\(([0-9,]+)\)")
_SPACE = re.compile(r"S\((\d+)\)")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"(calls|body|condition|to_apply|true_computation|false_computation"
    r"|branch_computations|called_computations)=(\{[^}]*\}|%[\w.\-]+)"
)
_METADATA = re.compile(r', metadata=\{(?:"(?:[^"\\]|\\.)*"|[^"}])*\}')
_INDEX = re.compile(r"index=(\d+)")
_CONSTANT = re.compile(r"constant\((-?\d+)\)")


class Unreadable(ValueError):
  """A program that does not say what, or how often, a part of it moves."""


class Array(NamedTuple):
  """An array of a program.

  Attributes:
    size: bytes of its elements.
    held: bytes that they take in memory, where a TPU keeps whole tiles.
    main: whether that is the chip's main memory.
  """

  size: int
  held: int
  main: bool

  @property
  def traffic(self) -> int:
    """Bytes that reading or writing it moves."""
    return self.held if self.main else 0


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
  def element(self) -> int:
    """Of a get-tuple-element, which one it takes."""
    found = _INDEX.search(self.line)
    return int(found.group(1)) if found else 0

  @property
  def constant(self) -> int | None:
    """Of a constant, its integer; None of any other."""
    found = _CONSTANT.search(self.line) if self.opcode == "constant" else None
    return int(found.group(1)) if found else None

  @property
  def main(self) -> bool:
    """Whether some of the result is in the chip's main memory."""
    return any(array.main for array in self.arrays)

  @property
  def size(self) -> int:
    """Bytes of the result's elements."""
    return sum(array.size for array in self.arrays)

  @property
  def held(self) -> int:
    """Bytes that the result takes in whatever memory."""
    return sum(array.held for array in self.arrays)


# A computation: its instructions by name.
Body = dict[str, Instruction]


def computations(text: str) -> tuple[dict[str, Body], str]:
  """Returns the computations of a module by name, and the entry's name.

  Raises:
    Unreadable: an array whose elements are of an unknown kind.
  """
  found: dict[str, Body] = {}
  entry, current = "", None
  for line in text.splitlines():
    if begins := _COMPUTATION.match(line):
      current = found.setdefault(begins.group(2), {})
      entry = begins.group(2) if begins.group(1) else entry
    elif line.startswith("}"):
      current = None
    elif current is not None and (made := _INSTRUCTION.match(line)):
      name, rest, root = made.group(2), made.group(3), bool(made.group(1))
      current[name] = _instruction(name, rest, root)
  return found, entry


def root(body: Body) -> Instruction:
  """What a computation returns."""
  return next(made for made in body.values() if made.root)


def roots(body: Body) -> list[Instruction]:
  """What a computation returns, one an array."""
  made = root(body)
  if made.opcode != "tuple":
    return [made] * max(1, len(made.arrays))
  return [body[name] for name in made.operands]


def _instruction(name: str, rest: str, root: bool) -> Instruction:
  """Reads one line: result, opcode, operands, called computations."""
  rest = _METADATA.sub("", rest)  # a user's names may look like anything
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
      raise Unreadable(f"{kind}: bytes of an element are not known")
    shape_ = [int(n.strip("<=")) for n in sizes.split(",") if n]
    space = _SPACE.search(layout)
    main = space is None or space.group(1) == "0"
    counts = math.prod(shape_), math.prod(_padded(shape_, layout))
    size, held = (-(-count * _BITS[kind] // 8) for count in counts)
    found.append(Array(size, held, main))
  return found


def _padded(sizes: list[int], layout: str) -> list[int]:
  """Sizes in the order of memory, the fastest first, in whole tiles."""
  order, tile = _ORDER.match(layout), _TILE.search(layout)
  if not order or not tile:
    return sizes
  found = [sizes[int(axis)] for axis in order.group(1).split(",") if axis]
  for place, extent in enumerate(reversed(tile.group(1).split(","))):
    if place < len(found):
      found[place] = -(-found[place] // int(extent)) * int(extent)
  return found
