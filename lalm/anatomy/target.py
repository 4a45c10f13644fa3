"""What an experiment on a model's weights measures: nothing by the clock.

A point names a model (`weights`, as `models.published.find` reads it) and what
is asked of it; its key follows from the file's bytes, so that a path that holds
another model is another point.
"""

from collections.abc import Callable
import hashlib
import pathlib
import sys
from typing import Any, NamedTuple

from lalm.measure import kernel
from lalm.measure import keys
from lalm.models import bert
from lalm.models import captured
from lalm.models import published
from lalm.models import weights
from lalm.spectral import checks

_SECONDS = 10.0  # of a point, more or less
_COPIES = 8  # of a file in memory
Point = kernel.Point
Settings = kernel.Settings
# From a point, the file of its model and a replicate to fields of a record.
Analysis = Callable[[Point, pathlib.Path, int], dict[str, Any]]


class Work(NamedTuple):
  """A question as a sweep knows it.

  Attributes:
    forms: its one form, which takes no chunk.
    featured: that form.
    causal: whether a model may be causal; any is what it is.
  """

  forms: dict[str, Callable[..., None]]
  featured: tuple[str, ...]
  causal: bool = True


def work(form: str) -> Work:
  """Returns a question of one form."""
  return Work({form: lambda: None}, (form,))


class Target:
  """Plans and measures points.

  Args:
    analysis: makes the fields of a record.
    *code: modules that these follow from, beside those of loading.
    also: of a point, what else these follow from.
  """

  def __init__(
      self,
      analysis: Analysis,
      *code: Any,
      also: Callable[[Point], str] = lambda _: "",
  ) -> None:
    self._analysis = analysis
    self._also = also
    self._code = (
        sys.modules[__name__], bert, captured, weights, checks, *code
    )  # fmt: skip

  def surroundings(self) -> dict[str, Any]:
    """Where it measures; peaks of memory are not read."""
    found = kernel.TARGET.surroundings()
    return {name: x for name, x in found.items() if name != "memory_method"}

  def environment(self) -> dict[str, Any]:
    """What a worker says of itself before its first point."""
    return self.surroundings()

  def plan(self, point: Point, settings: Settings) -> dict[str, Any]:
    """Key, and predicted bytes and seconds."""
    del settings  # what a point is does not depend on how it is measured
    path = published.find(point["weights"])
    return {
        "key": keys.of(
            point, digest(path), keys.code(*self._code), self._also(point)
        ),
        "bytes": _COPIES * path.stat().st_size,
        "seconds": _SECONDS,
        "repeats": 1,
    }

  def measure(
      self, point: Point, replicate: int, settings: Settings
  ) -> dict[str, Any]:
    """The record of one point in this process."""
    kernel.use_cache(settings.get("cache"))
    key = self.plan(point, settings)["key"]
    path = published.find(point["weights"])
    record = kernel.identity(point, replicate, key)
    record |= {"model": path.stem, "digest": digest(path)}
    found = self._analysis(point, path, replicate)
    return {**record, **found, "status": "ok", "reason": ""}


def digest(path: pathlib.Path) -> str:
  """Returns SHA-256 of a file in hexadecimal.

  Raises:
    OSError: it cannot be read.
  """
  with path.open("rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
