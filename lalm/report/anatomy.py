"""What tables of a model's insides share: whose they are, and how they read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import statistics
from typing import Any, NamedTuple

from lalm.report import medians
from lalm.scaling import reading

Record = Mapping[str, Any]
# Fields of a point that a setting of such an experiment is told by.
_TOLD = ("weights", "corpus", "batch", "seed")


class Setting(NamedTuple):
  """Records of one model, read in one way.

  Attributes:
    weights: as the model was asked for.
    model: the name of its file.
    digest: of its file.
    records: status ok, the newest of each point and replicate.
    remarks: points that have failed, and why.
  """

  weights: str
  model: str
  digest: str
  records: tuple[Record, ...]
  remarks: tuple[str, ...]

  def of(self, **point: Any) -> list[Record]:
    """Returns the records whose points have these fields."""
    return [
        r
        for r in self.records
        if all(r["point"].get(name) == x for name, x in point.items())
    ]

  @property
  def heading(self) -> str:
    """Whose records they are."""
    if not self.digest:  # nothing could be read
      return self.weights
    return f"{self.model} ({self.weights}, SHA-256 {self.digest[:12]})"


def settings(records: Iterable[Record], experiment: str) -> list[Setting]:
  """Returns the settings of an experiment, the newest first.

  Args:
    records: of one device's folder; those of other experiments are left out.
    experiment: its name.
  """
  members: dict[tuple[Any, ...], list[Record]] = {}
  for record in records:
    if record.get("experiment") == experiment:
      key = tuple(record["point"].get(name) for name in _TOLD)
      members.setdefault(key, []).append(record)
  found = [_setting(key[0], own) for key, own in members.items()]
  return [x for x in found[::-1] if x.records or x.remarks]


def _setting(weights: str, own: Sequence[Record]) -> Setting:
  points: dict[str, list[Record]] = {}
  for record in own:
    point = record["point"]
    name = f"{point['mechanism']} at n={point['length']}"
    points.setdefault(name, []).append(record)
  newest = [
      r for each in points.values() for r in reading.newest(each).values()
  ]
  remarks = [
      f"- {name}: {words}"
      for name, each in points.items()
      if (words := medians.trouble(each))
  ]
  last = newest[-1] if newest else {}
  return Setting(
      weights,
      last.get("model", ""),
      last.get("digest", ""),
      tuple(newest),
      tuple(remarks),
  )


def tables(
    records: Iterable[Record],
    environment: Mapping[str, Any],
    experiment: str,
    markdown: Callable[[Setting, str], str],
) -> str:
  """Returns the tables of all settings as Markdown, the newest first.

  Args:
    records: of one device's folder.
    environment: of that folder.
    experiment: its name.
    markdown: from a setting and the name of the device to its tables.
  """
  where = environment.get("slug", "device")
  found = settings(list(records), experiment)
  return "\n".join(markdown(setting, where) for setting in found)


def middle(each: Sequence[Any]) -> Any:
  """Returns the median over replicates, of numbers or of nested lists."""
  if isinstance(each[0], list):
    return [middle(parts) for parts in zip(*each, strict=True)]
  known = [x for x in each if x is not None]
  return statistics.median(known) if known else None


def mean(numbers: Sequence[float | None]) -> float | None:
  """Returns the mean of those that are there."""
  known = [x for x in numbers if x is not None]
  return statistics.fmean(known) if known else None


def number(x: float | int | None, digits: int = 3) -> str:
  """Returns a cell; "" of what is not there."""
  if x is None:
    return ""
  return str(x) if isinstance(x, int) else f"{x:.{digits}g}"
