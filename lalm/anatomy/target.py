"""What an experiment on a model's weights measures, mostly not by the clock.

A point names a model (`weights`, as `models.published.find` reads it) and what
is asked of it; its key follows from the file's bytes, so that a path that holds
another model is another point.
"""

from collections.abc import Callable, Sequence
import pathlib
import sys
from typing import Any, NamedTuple

from lalm.anatomy import numbers
from lalm.anatomy import subject
from lalm.data import text
from lalm.measure import kernel
from lalm.measure import keys
from lalm.models import bert
from lalm.models import captured
from lalm.models import published
from lalm.models import tensors
from lalm.models import weights
from lalm.spectral import checks

_SECONDS = 10.0  # of a point, more or less
_COPIES = 8  # of a file in memory
Point = kernel.Point
Settings = kernel.Settings
# From a point, the file of its model, a replicate and settings to fields of a
# record.
Analysis = Callable[[Point, pathlib.Path, int, Settings], dict[str, Any]]


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


def catalogue(
    known: Sequence[str], form: str
) -> tuple[Callable[[], tuple[str, ...]], Callable[[str], Work]]:
  """Returns `names` and `get` of questions, as a sweep asks a module for them.

  `get` raises ValueError of a name that is none.

  Args:
    known: names of the questions.
    form: the one form of each.
  """

  def get(name: str) -> Work:
    if name not in known:
      raise ValueError(
          f"mechanism: expected one of {', '.join(known)}, got {name!r}"
      )
    return Work({form: lambda: None}, (form,))

  return lambda: tuple(known), get


def read(point: Point, causal: bool = True) -> str:
  """Returns the digest of what a point reads of its text.

  Args:
    point: of a text.
    causal: as of `subject.check`.

  Raises:
    ValueError: as of `subject.check`, or no such text.
  """
  subject.check(published.find(point["weights"]), point["length"], causal)
  return text.digest(point["corpus"], subject.BYTES * point["length"])


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
        sys.modules[__name__], numbers, bert, captured, tensors, weights,
        checks, *code,
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
    tensors.notes(path)  # refuses what is no such file
    return {
        "key": self._key(point, published.digest(path)),
        "bytes": _COPIES * path.stat().st_size,
        "seconds": _SECONDS,
        "repeats": 1,
    }

  def measure(
      self, point: Point, replicate: int, settings: Settings
  ) -> dict[str, Any]:
    """The record of one point in this process."""
    kernel.use_cache(settings.get("cache"))
    path = published.find(point["weights"])
    digest = published.digest(path)
    record = kernel.identity(point, replicate, self._key(point, digest))
    record |= {"model": path.stem, "digest": digest}
    found = self._analysis(point, path, replicate, settings)
    return {**record, **found, "status": "ok", "reason": ""}

  def _key(self, point: Point, digest: str) -> str:
    code = keys.code(*self._code)
    return keys.of(point, digest, code, self._also(point))
