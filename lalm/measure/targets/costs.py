"""What a function costs on a machine that is not here.

It is compiled by the machine's own compiler, and nothing is run:

    costs = of(function, arguments, "tpu-v5e-16x16", specs=(P(None, "tokens"),))

Bytes, traffic and collectives are of one device, operations of all together. A
roofline takes products as shared evenly by the devices where anything is split,
which they are not where each device makes them all.
"""

from collections.abc import Mapping, Sequence
import functools
import time
from typing import Any, NamedTuple

import jax
from jax.interpreters import partial_eval
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

from lalm.attention import tuning
from lalm.measure import operations
from lalm.measure.targets import hardware
from lalm.measure.targets import hlo
from lalm.measure.targets import programs
from lalm.measure.targets import topology

AXIS = "tokens"  # of a machine's mesh, over which sequences are split


class Costs(NamedTuple):
  """What the compiler knows of a program, and what follows.

  Attributes:
    argument_bytes: of the inputs, on a device.
    output_bytes: of the results, on a device.
    temporary_bytes: of all between, on a device.
    peak_bytes: the most that is live at once, inputs included, on a device.
    operations: products (2mnk each) and elementwise ones of all devices; None
      where they cannot be read.
    traffic: bytes to and from a device's memory; None where a loop's turns are
      not known.
    collectives: kind -> (how often, bytes of operands or results on a device,
      whichever are more); empty where a loop's turns are not known.
    compiler_seconds: by the compiler's own estimate of its instructions, which
      leaves out collectives and sorting; None where it makes none.
    roofline_seconds: the longest of products, shared evenly by the devices,
      traffic and collectives at the published peaks; products each at the rate
      of their dtype and precision. None where operations or traffic are, or
      where no rate of a kind is published.
    lowering_seconds: of tracing and lowering here.
    compile_seconds: of compiling here.
  """

  argument_bytes: int
  output_bytes: int
  temporary_bytes: int
  peak_bytes: int
  operations: operations.Operations | None
  traffic: float | None
  collectives: dict[str, tuple[int, float]]
  compiler_seconds: float | None
  roofline_seconds: float | None
  lowering_seconds: float
  compile_seconds: float

  @property
  def communication(self) -> float:
    """Bytes that a device gets from others, on a ring of many.

    A sum over devices goes round twice: it is scattered, then gathered.
    """
    return sum(
        size * (2 if kind == "all-reduce" else 1)
        for kind, (_, size) in self.collectives.items()
    )


class Lowered(NamedTuple):
  """A program before it is compiled, its jaxpr, and seconds of making both."""

  program: Any
  jaxpr: Any
  seconds: float


def of(
    function: Any,
    arguments: Sequence[Any],
    target: str,
    specs: Any = None,
) -> Costs:
  """Returns what a function costs on a machine.

  Args:
    function: jittable, or under `jax.jit` already; `functools.partial` binds
      what is no array.
    arguments: arrays, `jax.ShapeDtypeStruct`s or numbers, pytrees of them too.
      A struct may have a `NamedSharding` on the machine's devices.
    target: name of the machine, as in `hardware`.
    specs: for each argument a `PartitionSpec` over the axis "tokens" of all the
      machine's devices, a `NamedSharding` on them, or None where each device
      has all of it; None for all.

  Raises:
    ValueError: no such machine, shapes that do not fit, or no such function,
      arguments or specs.
    topology.Missing: its compiler is not installed.
  """
  machine = hardware.get(target)
  if not callable(function) or isinstance(function, jax.stages.Compiled):
    raise ValueError(
        f"function: expected a jittable one, got {type(function).__name__}"
    )
  mesh = topology.mesh(target, AXIS)
  given = placed(arguments, mesh, specs)
  made = lower(function, given, target)
  if len(made.jaxpr.jaxpr.invars) != len(jax.tree.leaves(given)):
    raise ValueError(
        "function: expected no static arguments (functools.partial binds"
        " what is no array)"
    )
  if not _reads(made.jaxpr):  # or it is compiled for this machine
    everywhere = NamedSharding(mesh, PartitionSpec())
    made = lower(jax.jit(function, out_shardings=everywhere), given, target)
  if not _splits(made, given):
    machine = machine._replace(devices=1)  # each of them does it all
  return read(made, machine)


def lower(function: Any, arguments: Sequence[Any], target: str) -> Lowered:
  """Returns a function lowered for the devices its arguments are on.

  Args:
    function: jittable, or under `jax.jit` already.
    arguments: as `placed` returns them.
    target: name of the machine that has the devices.
  """
  jitted = function if hasattr(function, "trace") else jax.jit(function)
  start = time.perf_counter()
  with tuning.lowered_for(hardware.get(target).chip.platform):
    traced = jitted.trace(*arguments)
    made = traced.lower()
  return Lowered(made, traced.jaxpr, time.perf_counter() - start)


def read(
    lowered: Lowered, machine: hardware.Machine, folder: str | None = None
) -> Costs:
  """Compiles for a machine; returns what that says of costs.

  Args:
    lowered: by `lower`, for the machine.
    machine: with as many devices as share the products.
    folder: of programs compiled before; None where none is kept.
  """
  compiled = programs.compiled(lowered.program, machine.name, folder)
  counted = _count(lowered.jaxpr, machine.chip.platform)
  return _read(compiled, counted, machine)._replace(
      lowering_seconds=lowered.seconds, compile_seconds=compiled.seconds
  )


def placed(arguments: Sequence[Any], mesh: Any, specs: Any = None) -> tuple:
  """Returns the arguments' shapes, each with its place on a mesh.

  Raises:
    ValueError: what is no argument, or not a spec for each.
  """
  if not isinstance(arguments, (tuple, list)):
    raise ValueError(
        f"arguments: expected a tuple, got {type(arguments).__name__}"
    )
  if specs is None:
    specs = [None] * len(arguments)
  if not isinstance(specs, (tuple, list)) or isinstance(specs, PartitionSpec):
    raise ValueError(
        "specs: expected a tuple, one spec an argument, got"
        f" {type(specs).__name__}"
    )
  if len(specs) != len(arguments):
    raise ValueError(
        f"specs: expected {len(arguments)}, one an argument, got {len(specs)}"
    )
  return tuple(
      jax.tree.map(functools.partial(_place, mesh, spec), x)
      for spec, x in zip(specs, arguments)
  )


def _place(mesh: Any, spec: Any, x: Any) -> jax.ShapeDtypeStruct:
  """The shape of an array or a number, with its place."""
  if not isinstance(spec, (PartitionSpec, NamedSharding, type(None))):
    raise ValueError(
        "specs: expected a PartitionSpec, a NamedSharding or None for an"
        f" argument and all that is in it, got {type(spec).__name__}"
    )
  if spec is None and isinstance(x, jax.ShapeDtypeStruct):
    spec = x.sharding  # an array's own is of the devices that are here
  if isinstance(spec, PartitionSpec):
    spec = NamedSharding(mesh, spec)
  sharding = spec or NamedSharding(mesh, PartitionSpec())
  if set(sharding.device_set) != set(mesh.devices.flat):
    raise ValueError(
        "sharding: expected one on the target's devices"
        f" (`topology.devices`), got {sharding}"
    )
  try:
    shape = jax.eval_shape(lambda y: y, x)
  except OverflowError as error:
    raise ValueError(f"arguments: {error}, got {x!r}") from None
  except TypeError:
    raise ValueError(
        "arguments: expected arrays, jax.ShapeDtypeStructs or numbers"
        f" (functools.partial binds what is none), got {type(x).__name__}"
    ) from None
  return shape.update(sharding=sharding)


def _reads(closed: Any) -> bool:
  """Whether a program's results need any of its arguments."""
  jaxpr = closed.jaxpr
  return any(partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[1])


def _count(jaxpr: Any, platform: str) -> operations.Operations | None:
  try:
    return operations.count_jaxpr(jaxpr, platform=platform)
  except operations.UnreadableError:
    return None


def _splits(made: Lowered, arguments: Any) -> bool:
  """Whether devices may share a program's work."""
  results = jax.tree.leaves(made.program.out_info)
  places = (x.sharding for x in (*jax.tree.leaves(arguments), *results))
  if not all(place is None or place.is_fully_replicated for place in places):
    return True
  text = str(made.jaxpr)
  return "shard_map" in text or "sharding_constraint" in text


def _read(
    compiled: programs.Program,
    counted: operations.Operations | None,
    machine: hardware.Machine,
) -> Costs:
  sizes, found = compiled.sizes, _text(compiled.text)
  costs = Costs(
      sizes["argument"],
      sizes["output"],
      sizes["temp"],
      _peak(sizes, machine.chip.platform),
      counted,
      None if found is None else found.traffic,
      {} if found is None else found.collectives,
      _compiler_seconds(found, machine),
      None,
      0.0,
      0.0,
  )
  return costs._replace(roofline_seconds=roofline(costs, machine))


def _peak(sizes: Mapping[str, int], platform: str) -> int:
  """Bytes of all that is live at once, constants of the program included.

  They are part of a TPU's code, and of a GPU's own sum.
  """
  live = sizes["argument"] + sizes["output"] + sizes["temp"] - sizes["alias"]
  if platform == "tpu":
    return live + sizes["generated_code"]
  return max(live, sizes["peak"])


def _text(text: str) -> hlo.Costs | None:
  """What a program says; None where a loop does not say its turns."""
  try:
    return hlo.read(text)
  except hlo.Unreadable:
    return None


def _compiler_seconds(
    found: hlo.Costs | None, machine: hardware.Machine
) -> float | None:
  """Cycles by the clock; the compiler's own sum has each loop's body once."""
  clock = machine.chip.clock
  return found.cycles / clock if found and clock and found.cycles else None


def roofline(costs: Costs, machine: hardware.Machine) -> float | None:
  """Returns seconds at the published peaks: the longest of three.

  Args:
    costs: of the program.
    machine: it is compiled for.
  """
  chip = machine.chip
  if costs.operations is None or costs.traffic is None:
    return None
  kinds = costs.operations.kinds
  if not set(kinds) <= set(chip.products):
    return None
  products = sum(n / chip.products[kind] for kind, n in kinds.items())
  return max(
      products / machine.devices,
      costs.traffic / chip.bandwidth,
      costs.communication / chip.links,
  )
