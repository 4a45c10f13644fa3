"""What a compiled program sends between devices.

TPU compilers hide collectives in fusions: a sum of which each device takes its
part (a reduce-scatter), and asynchronous ones, which one fusion starts and
others beside computing go on with. The others name the same channel.
"""

from collections.abc import Mapping
import re

from lalm.measure.targets.instructions import Array
from lalm.measure.targets.instructions import Body
from lalm.measure.targets.instructions import Instruction

KINDS = (
    "all-gather",
    "all-reduce",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
    "ragged-all-to-all",
)
_CHANNEL = re.compile(r"channel_id=(\d+)")
_START = 'custom_call_target="AsyncCollectiveStart"'


def kind(made: Instruction) -> str | None:
  """Returns which collective an instruction is or starts; None if none."""
  found = made.opcode.removesuffix("-start")
  return found if found in KINDS else None


def size(made: Instruction, body: Body) -> float:
  """Returns bytes of its operands or results, whichever are more."""
  given = sum(body[name].size for name in made.operands if name in body)
  return float(max(given, sum(array.size for array in results(made))))


def results(made: Instruction) -> tuple[Array, ...]:
  """Returns the arrays that are written: what starts names operands too."""
  if not made.opcode.endswith("-start") or made.opcode == "all-reduce-start":
    return made.arrays
  if made.opcode == "copy-start":
    return made.arrays[:1]
  count = len(made.operands)
  return made.arrays[count : 2 * count]


def starts(made: Instruction) -> bool:
  """Returns whether it begins a collective that others end."""
  return made.opcode == "custom-call" and _START in made.line


def started(computations: Mapping[str, Body]) -> dict[str, set[str]]:
  """Returns channel -> the collectives in fusions that start it."""
  found: dict[str, set[str]] = {}
  for body in computations.values():
    for made in body.values():
      if starts(made):
        for name in made.operands:
          if name in body and kind(body[name]):
            found.setdefault(_channel(body[name]), set()).add(name)
  return found


def goes_on(made: Instruction, begun: Mapping[str, set[str]]) -> bool:
  """Returns whether it goes on with what another instruction has started."""
  names = begun.get(_channel(made))
  return names is not None and made.name not in names


def fused(body: Body, begun: Mapping[str, set[str]]) -> list[tuple[str, float]]:
  """Returns kind and bytes of each collective that a fusion's body makes.

  Args:
    body: the fused computation.
    begun: as `started` returns them.
  """
  found = []
  for made in body.values():
    what = kind(made)
    if what is not None and not goes_on(made, begun):
      if what == "all-reduce" and _readers(made, body) == {"dynamic-slice"}:
        what = "reduce-scatter"
      found.append((what, size(made, body)))
  return found


def _readers(made: Instruction, body: Body) -> set[str]:
  """The opcodes of what reads a value, its elements or other names of it."""
  found: set[str] = set()
  for reader in body.values():
    if made.name in reader.operands:
      renamed = reader.opcode in ("get-tuple-element", "bitcast")
      found |= _readers(reader, body) if renamed else {reader.opcode}
  return found


def _channel(made: Instruction) -> str:
  found = _CHANNEL.search(made.line)
  return found.group(1) if found else made.name
