"""The longest context that fits on a machine: a search by its compiler.

The compiler tells the peak bytes of a length. The next one tried is where bytes
in proportion, or as two lengths tell that they grow, meet the memory, just
inside, and the one after it just beyond, which ends the search if it does not
fit. A compile that ends out of memory is an answer too, and often a quick one.

Lengths tried are multiples of a power of two near their hundredth. Of others a
TPU's compiler may think fifty times longer, and find programs that take more
memory: of `cosine` on a v6e it does in 101 s for 6,740,992 tokens and finds
0.82 of the memory, in 5 s and 0.72 for 6,717,440, which are 205 * 2^15.
"""

from collections.abc import Callable, Mapping, Sequence
import math
import sys
from typing import Any, NamedTuple

import jax

from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import points
from lalm.measure.targets import absent
from lalm.measure.targets import costs
from lalm.measure.targets import hardware

LONGEST = 2**30  # tokens; positions are int32
_GRAIN = 128  # tokens on a device, of which lengths are multiples
_STEP = 128  # steps of a length at least, where the grain allows
_CLOSE = 1.02  # ratio of a length that does not fit and one that does
_TRIES = 16  # compiles at most
_ROOM = 3  # times a call's own arrays, about what it holds at once
_LEAP = 64  # times a length that fits, at most
_STRIDE = 1.2  # ratio of two lengths that are near
_SAME = 3  # tries in a row that all fit, or do not, before halving

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
  if not callable(arguments):
    raise ValueError(
        "arguments: expected a function of a length, got"
        f" {type(arguments).__name__}"
    )

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
  tried: dict[int, float] = {}
  records: dict[int, Record] = {}
  length: int | None = _rounded(first, grain)
  while length is not None and len(tried) < _TRIES:
    record = compiled(length)
    tried[length] = math.inf
    if record is not None:
      tried[length] = float(max(record["memory"]["device_bytes"], 1))
      records[length] = record
    length = _next(tried, memory, grain)
  low, high = _ends(tried, memory)
  record = None if low is None else records[low]
  return Bracket(low, record, high, len(tried))


def _ends(
    tried: Mapping[int, float], memory: float
) -> tuple[int | None, int | None]:
  """The longest length that fits and the next that does not."""
  low = max((n for n in tried if tried[n] <= memory), default=None)
  beyond = (n for n in tried if tried[n] > memory and n > (low or 0))
  return low, min(beyond, default=None)


def _step(length: float, grain: int) -> int:
  """The grain times a power of two that lengths near one are multiples of."""
  times = max(1.0, length / (_STEP * grain))
  return grain * 2 ** int(math.log2(times))


def _rounded(length: float, grain: int) -> int:
  step = _step(length, grain)
  return max(step, int(length) - int(length) % step)


def _next(tried: Mapping[int, float], memory: float, grain: int) -> int | None:
  """The length to try next; None where the bracket is close enough."""
  low, high = _ends(tried, memory)
  if low is None:
    if high is None or high <= grain:
      return None
    share = 0.25  # unless it is known what a length that is too long takes
    if math.isfinite(tried[high]):
      share = memory / tried[high] * _CLOSE**-0.5
    return min(_rounded(share * high, grain), high - grain)
  if high is None:
    if low >= LONGEST:
      return None
    guess = min(_guess(tried, low, None, memory), _LEAP * low, LONGEST)
  else:
    if high <= max(_CLOSE * low, low + grain):
      return None
    guess = _guess(tried, low, high, memory)
    sides = {size <= memory for size in [*tried.values()][-_SAME:]}
    if guess >= high or len(sides) == 1:  # it is not as what is known says
      guess = math.sqrt(low * high)
  return max(_rounded(guess, grain), low + _step(low, grain))


def _guess(
    tried: Mapping[int, float], low: int, high: int | None, memory: float
) -> float:
  """Where bytes meet the memory, just inside; if that is `low`, just beyond.

  Where that was wrong twice strides double: bytes are not what they seem.
  """
  *earlier, before, _ = [0, 0, *sorted(n for n in tried if n <= low)]
  other = before or None
  if high is not None and math.isfinite(tried[high]):
    other = high
  power = 1.0
  if other is not None:
    power = math.log(tried[other] / tried[low]) / math.log(other / low)
  if other is None or power > 1:
    guess = low * (memory / tried[low]) ** (1 / power)
  elif power > 0:  # of a sum with a constant
    slope = (tried[other] - tried[low]) / (other - low)
    guess = low + (memory - tried[low]) / slope
  else:
    guess = math.inf
  beyond = _CLOSE
  if low < _STRIDE * before < _STRIDE**2 * earlier[-1]:
    beyond = (low / before) ** 2
  return max(guess * _CLOSE**-0.5, beyond * low)


def _arrays(program: points.Program) -> list[Any]:
  """What a call has of its own: arguments and results."""
  results = program.inputs if program.backward else ()
  return [*program.arguments, program.out, *results]


class Target(absent.Target):
  """Searches, for each point, the longest length that fits."""

  follows = (*absent.Target.follows, sys.modules[__name__])
  seconds = 30.0

  def plan(self, point: kernel.Point, settings: kernel.Settings) -> Record:
    """As of a point, by a short and by a long program of it."""
    long = {**point, "length": _LEAP * point["length"]}
    short, longer = map(super().plan, (point, long), (settings, settings))
    own = short["key"], longer["key"]
    return {**short, "key": keys.of(point, *own, machine=self._machine.name)}

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> Record:
    """The record of the longest length, with what was found of the search."""
    one = super().measure

    def compiled(length: int) -> Record | None:
      longer = {**point, "length": length}
      return _or_none(lambda: one(longer, replicate, settings))

    memory, devices = self._machine.chip.memory, self._machine.devices
    # Bytes by the token, of whatever length.
    own = points.program(point, self.find(point["mechanism"]))
    arrays = sum(math.prod(x.shape) * x.dtype.itemsize for x in _arrays(own))
    first = point["length"] * memory * devices // (_ROOM * arrays)
    first = min(first, LONGEST)
    found = search(compiled, memory, first, _GRAIN * devices)
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
