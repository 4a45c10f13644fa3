"""Is every form right, here? The gate of a timing, without the timing.

What runs is what a timing would run, compiled for the device: values beside the
definition in float64, gradients beside its central differences (`error`). A
`step` is a compiled scan of steps.
"""

from typing import Any, Mapping

from lalm.measure import kernel
from lalm.measure import rounding

names = rounding.names
get = rounding.get


class Target(kernel.Target):
  """Plans points and runs each once, to be compared."""

  def __init__(self) -> None:
    super().__init__(get)

  def surroundings(self) -> dict[str, Any]:
    """As of attention; memory is not measured."""
    return {**super().surroundings(), "memory_method": None}

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """As of attention, of one call."""
    return {**super().plan(point, settings), "repeats": 1}

  def _predicted_seconds(
      self, point: kernel.Point, counted: Mapping[str, Any]
  ) -> float | None:
    """Unknown: it is called once, and a ceiling would take longer."""
    del point, counted
    return None

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point: how far it is off, and how far it may be."""
    with kernel.precision(point):
      kernel.use_cache(settings.get("cache"))
      mechanism = self.find(point["mechanism"])
      ready = self._made(point, mechanism, replicate)
      seed = [settings.get("seed", 0), replicate, point["seed"]]
      found = self._gate(point, mechanism, ready, seed)
    return ready.record | kernel.outcome(found)


TARGET = Target()
