"""The worker's target of a sweep that is compiled for a machine, not run.

`python -m lalm.measure.worker lalm.measure.targets.absent:PRESENT@MACHINE`,
where PRESENT is the target that would measure, `package.module:ATTRIBUTE`, and
MACHINE one of `hardware`. Its records have an `estimate` and no `seconds`.
"""

import dataclasses
import json
import sys
from typing import Any

import jax
from jax.sharding import PartitionSpec as P

from lalm import units
from lalm.attention import catalogue
from lalm.measure import environment
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import kinds
from lalm.measure import operations
from lalm.measure import points
from lalm.measure import products
from lalm.measure import trips
from lalm.measure import worker
from lalm.measure.targets import collectives
from lalm.measure.targets import costs
from lalm.measure.targets import hardware
from lalm.measure.targets import hlo
from lalm.measure.targets import instructions
from lalm.measure.targets import loops
from lalm.measure.targets import programs
from lalm.measure.targets import topology
from lalm.sharding import sequence

ONE = "one device"  # how a sequence is split that is not


class Target:
  """Plans and compiles the points of another target.

  Args:
    present: the target that would measure them.
    machine: they are compiled for.
  """

  # What reads its costs.
  follows: tuple[Any, ...] = (
      costs,
      hlo,
      instructions,
      loops,
      collectives,
      hardware,
      kinds,
      operations,
      products,
      programs,
      topology,
      trips,
      sys.modules[__name__],
  )
  seconds = 3.0  # of compiling a point, to plan with

  def __init__(self, present: kernel.Target, machine: hardware.Machine) -> None:
    # This is a worker's own process; a compiler needs no device, and looking
    # for one where there is none takes long or fails.
    jax.config.update("jax_platforms", "cpu")
    self._present = present
    self._machine = machine
    # What finds mechanisms as they are there, where that is another thing.
    find_for = getattr(present, "find_for", None)
    self.elsewhere = find_for and find_for(machine.chip.platform)
    self.find = self.elsewhere or present.find

  def surroundings(self) -> dict[str, Any]:
    """The machine that is compiled for, and what compiles."""
    topology.devices(self._machine.name)  # or there is nothing to tell
    chip = self._machine.chip
    return {
        "provenance": "compiled",
        "machine": self._machine.name,
        "slug": self._machine.name,
        "device": chip.platform,
        "device_kind": self._machine.name,
        "device_count": self._machine.devices,
        "versions": topology.versions(self._machine.name),
        "settings": environment.settings(),
        "revision": environment.revision(),
        "peaks": {
            "products_per_second": dict(chip.products),
            "bytes_per_second": chip.bandwidth,
            "link_bytes_per_second": chip.links,
            "memory_bytes": chip.memory,
        },
    }

  environment = surroundings

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """Key and seconds; what a compiler takes of memory is not predicted."""
    del settings
    with kernel.precision(point):
      lowered, _ = self._lowered(point)
    return {
        "key": self._key(point, lowered),
        "seconds": self.seconds,
        "repeats": 1,
    }

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point, compiled."""
    with kernel.precision(point):
      lowered, way = self._lowered(point)
      kept = settings.get("cache")
      found = costs.read(lowered, self._machine, kept)
    mechanism = self.find(point["mechanism"])
    status, reason, chip = "ok", "", self._machine.chip
    if found.peak_bytes > chip.memory:
      status = "out_of_memory"
      needed, there = map(units.size, (found.peak_bytes, chip.memory))
      reason = f"needs {needed} of each device, which has {there}"
    return {
        "key": self._key(point, lowered),
        "replicate": replicate,
        "point": dict(point),
        "sharding": way,
        **_fields(found, self._cost(point, mechanism)),
        "status": status,
        "reason": reason,
    }

  def _cost(self, point: kernel.Point, mechanism: Any) -> Any:
    """Closed-form products and bytes, with the machine's own chunks."""
    return points.cost(point, mechanism, self._machine.chip.platform)

  def _lowered(self, point: kernel.Point) -> tuple[costs.Lowered, str]:
    """The program of a point, and how it is split over the devices."""
    mechanism = self.find(point["mechanism"])
    mesh = topology.mesh(self._machine.name, costs.AXIS)
    mechanism, way = _split(mechanism, point["form"], mesh)
    program = points.program(point, mechanism)
    tokens = P(None, costs.AXIS)
    specs = [
        tokens if "T" in layout else None
        for layout in mechanism.layouts.values()
    ]
    specs += [tokens] * program.backward  # the cotangent
    arguments = costs.placed(program.arguments, mesh, specs)
    return costs.lower(program.function, arguments, self._machine.name), way

  def _key(self, point: kernel.Point, lowered: costs.Lowered) -> str:
    """Of the program, of its compiler, and of what reads its costs.

    Not of the machine that compiles: another finds the same.
    """
    code = keys.code(*self.follows)
    compiler = json.dumps(topology.versions(self._machine.name), sort_keys=True)
    text = lowered.program.as_text()
    machine = self._machine.name
    return keys.of(point, compiler, text, code, machine=machine)


def _split(
    mechanism: catalogue.Mechanism, form: str, mesh: Any
) -> tuple[catalogue.Mechanism, str]:
  """The mechanism with a form that is split over devices, and how it is.

  Where the library does not split it, XLA's partitioner does as it likes.
  """
  if mesh.size == 1:
    return mechanism, ONE
  try:
    split = sequence.split(mechanism, form, mesh, costs.AXIS)
  except ValueError:
    return mechanism, "partitioner"
  forms = {**mechanism.forms, form: split}
  return dataclasses.replace(mechanism, forms=forms), sequence.way(mechanism)


def _fields(found: costs.Costs, closed_form: Any) -> dict[str, Any]:
  """What a record says of costs."""
  counted = found.operations
  moved = {
      kind: {"count": count, "bytes": size}
      for kind, (count, size) in found.collectives.items()
  }
  return {
      "operations": {
          "products": None if counted is None else counted.products,
          "closed_form": None if closed_form is None else closed_form.products,
          "elementwise": None if counted is None else counted.elementwise,
      },
      "memory": {
          "peak_bytes": found.peak_bytes - found.argument_bytes,
          "method": "memory_analysis",
          "device_bytes": found.peak_bytes,
          "compiler_temp_bytes": found.temporary_bytes,
          "compiler_argument_bytes": found.argument_bytes,
          "compiler_output_bytes": found.output_bytes,
          "closed_form_bytes": None
          if closed_form is None
          else closed_form.bytes,
      },
      "estimate": {
          "roofline_seconds": found.roofline_seconds,
          "compiler_seconds": found.compiler_seconds,
          "traffic_bytes": found.traffic,
          "communication_bytes": found.communication,
          "collectives": moved,
      },
      "lowering_seconds": found.lowering_seconds,
      "compile_seconds": found.compile_seconds,
  }


def named(name: str, kind: type[Target]) -> Any:
  """Returns `PRESENT@MACHINE` as a target of a kind.

  Raises:
    AttributeError: it is no such name.
  """
  present, at, machine = name.rpartition("@")
  if not at:
    raise AttributeError(name)
  try:
    return kind(worker.load(present), hardware.get(machine))
  except ValueError as error:
    raise AttributeError(str(error)) from error


def __getattr__(name: str) -> Target:
  """`PRESENT@MACHINE` as a target; see above."""
  return named(name, Target)
