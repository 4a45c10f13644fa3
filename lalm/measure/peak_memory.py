"""The target of processes in which nothing but memory is measured."""

from collections.abc import Callable, Mapping
import os
from typing import Any, Protocol

from lalm.measure import environment
from lalm.measure import memory

Point = Mapping[str, Any]
Settings = Mapping[str, Any]


class Measured(Protocol):
  """What knows the points: `kernel.Target` and those that follow it."""

  def peak(self, point: Point, settings: Settings) -> memory.Peak | None:
    """A point's peak in this process; None where another hides it."""


class Peak:
  """Reads one peak a process where a mark can only rise.

  Args:
    target: knows the points.
    untold: whether a form's memory is another allocator's than JAX's, which
      then knows nothing of it.
  """

  def __init__(
      self,
      target: Measured,
      untold: Callable[[str], bool] = lambda form: False,
  ) -> None:
    self._target = target
    self._untold = untold
    self._asked = False

  def environment(self) -> dict[str, Any]:
    """The device alone, for it has a setting of its own.

    A pool set aside at once would leave what is next to it without memory.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    found = environment.machine()
    return {name: found[name] for name in ("device", "device_kind")}

  def measure(
      self, point: Point, replicate: int, settings: Settings
  ) -> dict[str, Any]:
    """Bytes and method of a point's peak; no bytes where another hides it."""
    del replicate  # one peak is as good as another
    if self._untold(point["form"]):
      return {"bytes": None, "method": None}
    hidden = {"bytes": None, "method": memory.method()}
    if self._asked and memory.method() == "ru_maxrss":
      return hidden  # compiling the one before has raised this mark too
    self._asked = True
    found = self._target.peak(point, settings)
    return hidden if found is None else found._asdict()
