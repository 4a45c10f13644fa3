"""What a function costs on a machine that is not here.

It is compiled by the machine's own compiler, and nothing is run:

    costs = of(function, arguments, "tpu-v5e-16x16", specs=(P(None, "tokens"),))

Bytes, traffic and collectives are of one device, operations of all together. A
roofline takes products as shared evenly by the devices, which they are not
where each device makes them all.
"""

from collections.abc import Sequence
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
    traffic: bytes to and from a device's memory.
    collectives: kind -> (how often, bytes of operands or results on a device,
      whichever are more).
    compiler_seconds: by the compiler's own estimate of its instructions, which
      leaves out collectives; None where it makes none.
    roofline_seconds: the longest of products, shared evenly by the devices,
      traffic and collectives at the published peaks; all products at the rate
      of the slowest dtype and precision among them. None where operations are,
      or where no rate of a dtype is published.
    lowering_seconds: of tracing and lowering here.
    compile_seconds: of compiling here.
  """

  argument_bytes: int
  output_bytes: int
  temporary_bytes: int
  peak_bytes: int
  operations: operations.Operations | None
  traffic: float
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
    function: jittable, or under `jax.jit` already.
    arguments: arrays, `jax.ShapeDtypeStruct`s or numbers, pytrees of them too.
    target: name of the machine, as in `hardware`.
    specs: for each argument a `PartitionSpec` over the axis "tokens" of all the
      machine's devices, or None where each device has all of it; None for all.

  Raises:
    ValueError: no such machine, shapes that do not fit, or no such function,
      arguments or specs.
    topology.Missing: its compiler is not installed.
    hlo.Unreadable: a loop whose turns the compiler does not know.
  """
  hardware.get(target)
  if not callable(function) or isinstance(function, jax.stages.Compiled):
    raise ValueError(
        f"function: expected a jittable one, got {type(function).__name__}"
    )
  mesh = topology.mesh(target, AXIS)
  given = placed(arguments, mesh, specs)
  made = lower(function, given, target)
  if not _reads(made.jaxpr):  # or it is compiled for this machine
    everywhere = NamedSharding(mesh, PartitionSpec())
    made = lower(jax.jit(function, out_shardings=everywhere), given, target)
  return read(made, target)


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


def read(lowered: Lowered, target: str) -> Costs:
  """Compiles for a machine; returns what that says of costs.

  Args:
    lowered: by `lower`.
    target: name of the machine.

  Raises:
    hlo.Unreadable: a loop whose turns the compiler does not know.
  """
  machine = hardware.get(target)
  start = time.perf_counter()
  compiled = _compile(lowered.program)
  seconds = time.perf_counter() - start
  counted = _count(lowered.jaxpr, machine.chip.platform)
  dtype = _slowest(lowered.jaxpr, machine.chip)
  return _read(compiled, counted, machine, dtype)._replace(
      lowering_seconds=lowered.seconds, compile_seconds=seconds
  )


def _compile(program: Any) -> Any:
  """Compiles; of products in Triton XLA for GPUs can lose its way.

  Without a GPU to try tiles on it takes Triton's, and finds none for some
  shapes: those programs get the vendor's products.
  """
  try:
    return program.compile()
  except jax.errors.JaxRuntimeError as error:
    if "output tile sizes" not in str(error):
      raise
    return program.compile({"xla_gpu_enable_triton_gemm": False})


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
  if not isinstance(spec, (PartitionSpec, type(None))):
    raise ValueError(
        "specs: expected a PartitionSpec or None for an argument and all that"
        f" is in it, got {type(spec).__name__}"
    )
  try:
    shape = jax.eval_shape(lambda y: y, x)
  except TypeError:
    raise ValueError(
        "arguments: expected arrays, jax.ShapeDtypeStructs or numbers, got"
        f" {type(x).__name__}"
    ) from None
  sharding = NamedSharding(mesh, spec or PartitionSpec())
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


def _slowest(jaxpr: Any, chip: hardware.Chip) -> str:
  """The dtype of products' operands that a chip is slowest with.

  One that it has no published rate of comes first.
  """
  found = _multiplied(jaxpr) or {"float32"}
  return min(sorted(found), key=lambda name: chip.products.get(name, 0.0))


def _fast(precision: Any) -> bool:
  """Whether float32 operands may be multiplied in fewer bits."""
  given = precision if isinstance(precision, tuple) else (precision,)
  return all(p in (None, jax.lax.Precision.DEFAULT) for p in given)


def _multiplied(jaxpr: Any) -> set[str]:
  """The dtypes of all products' operands."""
  if not hasattr(jaxpr, "eqns"):
    inner = jaxpr if isinstance(jaxpr, (tuple, list)) else ()
    inner = [jaxpr.jaxpr] if hasattr(jaxpr, "jaxpr") else inner
    return set().union(*map(_multiplied, inner))
  found: set[str] = set()
  for equation in jaxpr.eqns:
    if equation.primitive.name in ("dot_general", "conv_general_dilated"):
      kinds = (str(atom.aval.dtype) for atom in equation.invars[:2])
      fast = _fast(equation.params.get("precision"))
      found.update(
          hardware.FAST if fast and kind == "float32" else kind
          for kind in kinds
      )
    found.update(*map(_multiplied, equation.params.values()))
  return found


def _read(
    compiled: Any,
    counted: operations.Operations | None,
    machine: hardware.Machine,
    dtype: str,
) -> Costs:
  memory = compiled.memory_analysis()
  sizes = [
      getattr(memory, f"{name}_size_in_bytes")
      for name in ("argument", "output", "temp", "alias")
  ]
  argument, output, temporary, alias = sizes
  found = hlo.read(compiled.as_text())
  costs = Costs(
      argument,
      output,
      temporary,
      argument + output + temporary - alias,
      counted,
      found.traffic,
      found.collectives,
      _compiler_seconds(found, machine),
      None,
      0.0,
      0.0,
  )
  return costs._replace(roofline_seconds=roofline(costs, machine, dtype))


def _compiler_seconds(
    found: hlo.Costs, machine: hardware.Machine
) -> float | None:
  """Cycles by the clock; the compiler's own sum has each loop's body once."""
  clock = machine.chip.clock
  return found.cycles / clock if clock and found.cycles else None


def roofline(
    costs: Costs, machine: hardware.Machine, dtype: str
) -> float | None:
  """Returns seconds at the published peaks: the longest of three.

  Args:
    costs: of the program.
    machine: it is compiled for.
    dtype: of the products' operands.
  """
  chip = machine.chip
  if costs.operations is None or dtype not in chip.products:
    return None
  products = costs.operations.products / machine.devices
  return max(
      products / chip.products[dtype],
      costs.traffic / chip.bandwidth,
      costs.communication / chip.links,
  )
