"""The longest context that fits on a machine: a search by its compiler.

`fits` asks the compiler for the peak bytes of a length. The search brackets the
longest one by doubling, then closes in: in bytes that grow like a power of the
length, the next guess is where they meet the memory, kept inside the bracket.
A compile that ends out of memory is an answer too.

Lengths tried are multiples of a power of two near their hundredth. Of others a
TPU's compiler may think fifty times longer, and find programs that take more
memory: of `cosine` on a v6e it does in 101 s for 6,740,992 tokens and finds
0.82 of the memory, in 5 s and 0.72 for 6,717,440, which are 205 * 2^15.
"""

from collections.abc import Callable, Sequence
import math
import sys
from typing import Any, NamedTuple

import jax

from lalm.measure import kernel
from lalm.measure.targets import absent
from lalm.measure.targets import costs
from lalm.measure.targets import hardware

LONGEST = 2**30  # tokens; positions are int32
_GRAIN = 128  # tokens on a device, of which lengths are multiples
_STEP = 128  # steps of a length at least, where the grain allows
_CLOSE = 1.02  # ratio of a length that does not fit and one that does
_TRIES = 16  # compiles at most
_INSIDE = 0.1  # share of the bracket, in logarithms, that a guess keeps off

_FIRST = 2**15  # tokens a search begins with

Record = dict[str, Any]


class Longest(NamedTuple):
  """The longest length of a function that fits, and what it costs there.

  Attributes:
    length: that fits; None if none does.
    fails: the shortest that was tried and does not; None if all do.
    costs: of `length`.
  """

  length: int | None
  fails: int | None
  costs: costs.Costs | None


class Bracket(NamedTuple):
  """What a search has found.

  Attributes:
    fits: the longest length that fits; None if none does.
    record: of that length.
    fails: the shortest one that does not; None if all do.
    compiles: how many programs were compiled.
  """

  fits: int | None
  record: Record | None
  fails: int | None
  compiles: int


def of(
    function: Any,
    arguments: Callable[[int], Sequence[Any]],
    target: str,
    specs: Any = None,
) -> Longest:
  """Returns the longest length at which a function fits on a machine.

  Args:
    function: as in `costs.of`.
    arguments: from a length to the function's arguments; shapes are enough,
      and arrays must fit here.
    target: name of the machine, as in `hardware`.
    specs: as in `costs.of`.

  Raises:
    ValueError: as in `costs.of`.
    topology.Missing: the machine's compiler is not installed.
  """
  machine = hardware.get(target)

  def compiled(length: int) -> Record | None:
    given = arguments(length)  # its errors are its own
    found = _or_none(lambda: costs.of(function, given, target, specs))
    if found is None:
      return None
    return {"memory": {"device_bytes": found.peak_bytes}, "costs": found}

  grain = _GRAIN * machine.devices
  found = search(compiled, machine.chip.memory, _FIRST, grain)
  record = found.record or {}
  return Longest(found.fits, found.fails, record.get("costs"))


def _or_none(compiled: Callable[[], Any]) -> Any:
  """What was compiled; None where the compiler found no room for it.

  On the chip itself (vmem, smem) there is no more room for shorter lengths.
  """
  try:
    return compiled()
  except jax.errors.JaxRuntimeError as error:
    text = str(error)
    elsewhere = "memory space" in text and "memory space hbm" not in text
    if "RESOURCE_EXHAUSTED" not in text or elsewhere:
      raise
    return None


def search(
    compiled: Callable[[int], Record | None],
    memory: float,
    first: int,
    grain: int,
) -> Bracket:
  """Returns the longest length whose peak fits, as closely as tries allow.

  Args:
    compiled: from a length to its record, whose `memory` has `device_bytes`;
      None where the compiler found no room for it.
    memory: bytes of a device.
    first: length to begin with.
    grain: all lengths are multiples of it.
  """
  low: tuple[int, Record] | None = None
  before: tuple[int, float] | None = None
  high, length = None, _rounded(first, grain)
  tries = 0
  while tries < _TRIES:
    tries += 1
    record = compiled(length)
    size = math.inf if record is None else record["memory"]["device_bytes"]
    if record is not None and size <= memory:
      before = None if low is None else (low[0], _size(low[1]))
      low = (length, record)
    else:
      high = length
    following = _next(low, before, high, memory, grain)
    if following is None:
      break
    length = following
  if low is None:
    return Bracket(None, None, high, tries)
  return Bracket(*low, high, tries)


def _step(length: float, grain: int) -> int:
  """The grain times a power of two that lengths near one are multiples of."""
  times = max(1.0, length / (_STEP * grain))
  return grain * 2 ** int(math.log2(times))


def _rounded(length: float, grain: int) -> int:
  step = _step(length, grain)
  return max(step, int(length) - int(length) % step)


def _size(record: Record) -> float:
  return float(max(record["memory"]["device_bytes"], 1))


def _next(
    low: tuple[int, Record] | None,
    before: tuple[int, float] | None,
    high: int | None,
    memory: float,
    grain: int,
) -> int | None:
  """The length to try next; None where the bracket is close enough."""
  if low is None:
    if high is None or high <= grain:
      return None
    return _rounded(high // 4, grain)
  length, size = low[0], _size(low[1])
  power = 1.0
  if before is not None and size > before[1]:
    power = math.log(size / before[1]) / math.log(length / before[0])
  guess = length * (memory / size) ** (1 / max(power, 0.5))
  if high is None:
    if length >= LONGEST:
      return None
    guess = min(max(guess, 2 * length), 64 * length, LONGEST)
  else:
    if high <= max(_CLOSE * length, length + grain):
      return None
    margin = (high / length) ** _INSIDE
    if before is None:  # nothing is known of how bytes grow
      guess = math.sqrt(length * high)
    guess = min(max(guess * _CLOSE**-0.5, length * margin), high / margin)
  return max(_rounded(guess, grain), length + _step(length, grain))


class Target(absent.Target):
  """Searches, for each point, the longest length that fits."""

  follows = (*absent.Target.follows, sys.modules[__name__])
  seconds = 30.0

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> Record:
    """The record of the longest length, with what was found of the search."""
    one = super().measure

    def compiled(length: int) -> Record | None:
      longer = {**point, "length": length}
      return _or_none(lambda: one(longer, replicate, settings))

    memory = self._machine.chip.memory
    grain = _GRAIN * self._machine.devices
    found = search(compiled, memory, point["length"], grain)
    planned = self.plan(point, settings)["key"]
    base = {"key": planned, "replicate": replicate, "point": dict(point)}
    longest = {
        "length": found.fits,
        "fails": found.fails,
        "compiles": found.compiles,
    }
    if found.record is None:
      reason = f"not even {found.fails} tokens fit"
      return {**base, "status": "out_of_memory", "reason": reason}
    kept = {n: x for n, x in found.record.items() if n not in base}
    return {**kept, **base, "longest": longest, "status": "ok", "reason": ""}


def __getattr__(name: str) -> Target:
  """`PRESENT@MACHINE` as a target, as in `absent`."""
  return absent.named(name, Target)
