"""What a function costs on a machine that is not here.

It is compiled by the machine's own compiler, and nothing is run:

    costs = of(function, arguments, "tpu-v5e-16x16", specs=(P(None, "tokens"),))

Bytes, traffic and collectives are of one device, operations of all together.
"""

from collections.abc import Sequence
import functools
import time
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec

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
    compiler_seconds: by the compiler's own estimate of its instructions; None
      where it makes none.
    roofline_seconds: the longest of products, traffic and collectives at the
      published peaks; None where operations are.
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
    arguments: arrays or `jax.ShapeDtypeStruct`s, pytrees of them too.
    target: name of the machine, as in `hardware`.
    specs: for each argument a `PartitionSpec` over the axis "tokens" of all the
      machine's devices, or None where each device has all of it; None for all.

  Raises:
    ValueError: no such machine, or shapes that do not fit.
    topology.Missing: its compiler is not installed.
    hlo.Unreadable: a loop whose turns the compiler does not know.
  """
  hardware.get(target)
  given = placed(arguments, topology.mesh(target, AXIS), specs)
  return read(lower(function, given), target)


def lower(function: Any, arguments: Sequence[Any]) -> Lowered:
  """Returns a function lowered for the devices its arguments are on.

  Args:
    function: jittable, or under `jax.jit` already.
    arguments: as `placed` returns them.
  """
  jitted = function if hasattr(function, "trace") else jax.jit(function)
  start = time.perf_counter()
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
  return _read(compiled, counted, machine, _slowest(lowered.jaxpr))._replace(
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
  """Returns the arguments' shapes, each with its place on a mesh."""
  specs = [None] * len(arguments) if specs is None else list(specs)
  if len(specs) != len(arguments):
    raise ValueError(
        f"specs: expected {len(arguments)}, one an argument, got {len(specs)}"
    )

  def place(spec: Any, x: Any) -> jax.ShapeDtypeStruct:
    sharding = NamedSharding(mesh, spec or PartitionSpec())
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

  return tuple(
      jax.tree.map(functools.partial(place, spec), x)
      for spec, x in zip(specs, arguments)
  )


def _count(jaxpr: Any, platform: str) -> operations.Operations | None:
  try:
    return operations.count_jaxpr(jaxpr, platform=platform)
  except operations.UnreadableError:
    return None


def _slowest(jaxpr: Any) -> str:
  """The dtype of the inputs whose products are the slowest."""
  found = {str(x.dtype) for x in jaxpr.in_avals}
  order = ("float64", "float32", "bfloat16", "float16")
  return next((name for name in order if name in found), "float32")


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
