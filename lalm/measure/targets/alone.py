"""As `absent`, of programs that one device runs, whatever a machine has.

What they are is the present target's to say (`_program`, `_cost`), and so is
what a record counts by (`by_token`): decoding is of one token more.
"""

import sys
from typing import Any

import jax

from lalm.attention import tuning
from lalm.measure import kernel
from lalm.measure.targets import absent
from lalm.measure.targets import costs
from lalm.measure.targets import hardware
from lalm.measure.targets import topology


class Target(absent.Target):
  """Plans and compiles the points of another target for one device."""

  def __init__(self, present: Any, machine: hardware.Machine) -> None:
    super().__init__(present, machine._replace(devices=1))
    # What says what its programs are, and counts them by the token.
    own = sys.modules[__name__], sys.modules[type(present).__module__]
    self.follows = (*absent.Target.follows, *own)

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point, compiled, by the token."""
    record = super().measure(point, replicate, settings)
    return self._present.by_token(point, record)

  def _lowered(self, point: kernel.Point) -> tuple[costs.Lowered, str]:
    mesh = topology.mesh(self._machine.name, costs.AXIS)
    first = jax.sharding.Mesh(mesh.devices[:1], mesh.axis_names)
    mechanism = self.find(point["mechanism"])
    program = self._present._program(point, mechanism)
    arguments = costs.placed(program.arguments, first)
    name = self._machine.name
    return costs.lower(program.function, arguments, name), absent.ONE

  def _cost(self, point: kernel.Point, mechanism: Any) -> Any:
    with tuning.lowered_for(self._machine.chip.platform):
      return self._present._cost(point, mechanism)


def __getattr__(name: str) -> Target:
  """`PRESENT@MACHINE` as a target, as in `absent`."""
  return absent.named(name, Target)
