"""A results folder as the report sees it: groups of curves and their laws.

A *group* is one machine, one set of versions and one setting of everything that
is not swept (batch, heads, dtype, ...); records of different groups never share
a table row or a curve. A *curve* is one form of one mechanism.
"""

import json
import pathlib
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from lalm import store
from lalm.scaling import reading

# Experiments with tables of their own.
LAWLESS = (
    "attention_error",
    "block_structure",
    "copy_task",
    "form_error",
    "generation_time",
    "longest_context",
    "peer_comparison",
    "step_floor",
    "train_lm",
)
PASSES = ("forward", "forward_backward")


class Missing(ValueError):
  """A folder that holds no results; one line that names it."""


class Curve(NamedTuple):
  """One form of one mechanism; `chunk` only where several were measured."""

  mechanism: str
  form: str
  chunk: int | None = None

  @property
  def name(self) -> str:
    """`softmax.blockwise`; a user's `package.module:NAME` gives `NAME`."""
    short = self.mechanism.rpartition(":")[2] or self.mechanism
    tail = "" if self.chunk is None else f" C={self.chunk}"
    return f"{short}.{self.form}{tail}"


class Group(NamedTuple):
  """The records of one machine and one setting, newest lines only."""

  setting: dict[str, Any]
  curves: tuple[Curve, ...]
  points: dict[tuple[Curve, str, int], tuple[Mapping, ...]]
  fits: dict[tuple[Curve, str, str], dict]
  crossovers: tuple[dict, ...]

  def passes(self) -> tuple[str, ...]:
    """The passes that were asked for, forward first."""
    found = {pass_ for _, pass_, _ in self.points}
    known = [pass_ for pass_ in PASSES if pass_ in found]
    return (*known, *sorted(found - set(known)))

  def lengths(self) -> tuple[int, ...]:
    """Every length that was asked for, measured or not, ascending."""
    return tuple(sorted({length for _, _, length in self.points}))

  def replicates(self) -> int:
    """The largest number of workers that measured one point."""
    counts = (len(measured(records)) for records in self.points.values())
    return max(counts, default=0)


def _members(records: Iterable[Mapping]) -> list[list[dict]]:
  """Records of one setting together.

  A worker that died may leave a line that lacks part of its setting; such a
  line joins the newest group it does not contradict.
  """
  found: dict[str, list[dict]] = {}
  for record in records:
    label = json.dumps(_setting(record), sort_keys=True, default=str)
    found.setdefault(label, []).append(dict(record))
  newest_first = sorted(found.values(), key=_newest, reverse=True)
  kept: list[list[dict]] = []
  for lines in sorted(newest_first, key=lambda l: -len(_setting(l[0]))):
    own = _setting(lines[0])
    hosts = (k for k in kept if len(_setting(k[0])) > len(own))
    host = next((k for k in hosts if _agrees(own, _setting(k[0]))), None)
    if host is None:
      kept.append(lines)
    else:
      host.extend(lines)
  return kept


def measured(records: Iterable[Mapping]) -> list[Mapping]:
  """The records whose measurement ended well; only these are ever shown."""
  return [record for record in records if record["status"] == "ok"]


class Results(NamedTuple):
  """What a folder holds. The newest group comes first."""

  folder: pathlib.Path
  groups: tuple[Group, ...]
  damage: tuple[Any, ...]
  unreadable: tuple[str, ...]
  environment: dict[str, Any]


def check(folder: pathlib.Path) -> None:
  """Raises Missing unless a folder holds records that may have laws."""
  if not (folder / "records.jsonl").is_file():
    raise Missing(f"{folder}: expected a results folder with a records.jsonl")
  experiment = _json(folder / "config.json", dict, []).get("experiment")
  if experiment in LAWLESS:
    raise Missing(f"{folder}: {experiment} has no laws but its own table")


def load(folder: str | pathlib.Path) -> Results:
  """Reads `folder`, the `DIR/<device>` of a run.

  Args:
    folder: holds records.jsonl and, as far as they were written, fits.json,
      crossovers.json, environment.json and config.json.

  Returns:
    The results; a damaged or missing side file is named in `unreadable`.

  Raises:
    Missing: the folder has no records.jsonl, or records without laws.
  """
  folder = pathlib.Path(folder)
  check(folder)
  contents = store.load(folder / "records.jsonl")
  unreadable: list[str] = []
  fits = _json(folder / "fits.json", list, unreadable)
  crossovers = _json(folder / "crossovers.json", list, unreadable)
  environment = _json(folder / "environment.json", dict, unreadable)
  config = _json(folder / "config.json", dict, unreadable)
  records = [record for record in contents.records if _usable(record)]
  if len(records) < len(contents.records):
    count = len(contents.records) - len(records)
    unreadable.append(f"records.jsonl: {count} lines without a point")
  groups = grouped(records, fits, crossovers, config.get("mechanisms"))
  return Results(
      folder, groups, tuple(contents.damage), tuple(unreadable), environment
  )


def grouped(
    records: Iterable[Mapping],
    fits: Iterable[Mapping] = (),
    crossovers: Iterable[Mapping] = (),
    mechanisms: Sequence[str] | None = None,
) -> tuple[Group, ...]:
  """Sorts records into groups, the one with the newest record first.

  Args:
    records: lines of the store, each with a `point`.
    fits: the objects of fits.json.
    crossovers: the objects of crossovers.json.
    mechanisms: the order of the mechanisms; the others follow by name.

  Returns:
    The groups. A fit goes to the newest group that agrees with every field
    both of them name.
  """
  members = _members(records)
  members.sort(key=lambda lines: (_newest(lines), str(lines)), reverse=True)
  free_fits = list(fits)
  free_crossovers = list(crossovers)
  order = tuple(mechanisms) if isinstance(mechanisms, (list, tuple)) else ()
  return tuple(
      _group(lines, free_fits, free_crossovers, order) for lines in members
  )


def _usable(record: Any) -> bool:
  point = record.get("point") if isinstance(record, Mapping) else None
  if not isinstance(point, Mapping) or not isinstance(
      record.get("status"), str
  ):
    return False
  named = all(
      isinstance(point.get(n), str) for n in ("mechanism", "form", "pass")
  )
  return named and isinstance(point.get("length"), int)


def _setting(record: Mapping) -> dict[str, Any]:
  point = record["point"]
  setting = {name: record[name] for name in reading.IDENTITY if name in record}
  return setting | {
      name: value
      for name, value in point.items()
      if name not in reading.VARYING
  }


def _newest(records: Iterable[Mapping]) -> str:
  return max((str(record.get("started", "")) for record in records), default="")


def _group(
    records: list[dict],
    fits: list[Mapping],
    crossovers: list[Mapping],
    order: tuple[str, ...],
) -> Group:
  """One group; takes the fits and crossovers that are its own off the lists."""
  setting = _setting(records[0])
  lines: dict[tuple[Curve, str, int], list[dict]] = {}
  for record, curve in zip(records, _curves(records), strict=True):
    point = record["point"]
    place = (curve, point["pass"], point["length"])
    lines.setdefault(place, []).append(record)
  curves = sorted({curve for curve, _, _ in lines}, key=_curve_order(order))
  own_fits = {}
  for fit in _taken(fits, setting):
    whose = _fit_place(fit, curves)
    if whose is not None:
      own_fits[whose] = dict(fit)
  points = {place: _current(found) for place, found in lines.items()}
  own_crossovers = tuple(dict(c) for c in _taken(crossovers, setting))
  return Group(setting, tuple(curves), points, own_fits, own_crossovers)


def _curve_order(order: tuple[str, ...]) -> Callable[[Curve], tuple]:
  def key(curve: Curve) -> tuple:
    known = curve.mechanism in order
    rank = order.index(curve.mechanism) if known else len(order)
    return rank, curve.mechanism, curve.form, curve.chunk or 0

  return key


def _curves(records: Sequence[Mapping]) -> list[Curve]:
  """The curve of each record, with its chunk where a form has several."""
  chunks: dict[tuple[str, str], set] = {}
  for record in records:
    point = record["point"]
    name = (point["mechanism"], point["form"])
    chunks.setdefault(name, set()).add(point.get("chunk"))
  return [
      Curve(
          r["point"]["mechanism"],
          r["point"]["form"],
          r["point"].get("chunk")
          if len(chunks[r["point"]["mechanism"], r["point"]["form"]]) > 1
          else None,
      )
      for r in records
  ]


def _current(records: list[dict]) -> tuple[Mapping, ...]:
  """The lines of the newest key, one for each worker.

  A changed kernel has another key: its older lines are history. A worker's
  finished line stands over one that only says it was left out.
  """
  workers: dict[Any, Mapping] = {}
  for record in reading.current(records):
    worker = record.get("replicate", 0)
    held = workers.get(worker)
    if held is None or not _done(held) or _done(record):
      workers[worker] = record
  return tuple(workers[worker] for worker in sorted(workers))


def _done(record: Mapping) -> bool:
  return record["status"] not in store.NOT_TRIED


def _taken(items: list[Mapping], setting: Mapping) -> list[Mapping]:
  """Removes and returns the items whose shared fields equal the setting's."""
  own = [item for item in items if _agrees(item, setting)]
  items[:] = [item for item in items if not _agrees(item, setting)]
  return own


def _agrees(item: Any, setting: Mapping) -> bool:
  if not isinstance(item, Mapping):
    return False
  return all(item[name] == setting[name] for name in setting if name in item)


def _fit_place(fit: Mapping, curves: Iterable[Curve]) -> tuple | None:
  name = (fit.get("mechanism"), fit.get("form"))
  same = [curve for curve in curves if (curve.mechanism, curve.form) == name]
  for curve in same:
    if len(same) == 1 or curve.chunk == fit.get("chunk"):
      return curve, fit.get("pass"), fit.get("quantity")
  return None


def environment(folder: pathlib.Path) -> dict[str, Any]:
  """Where the records of a folder are from; empty where nothing tells it."""
  return _json(folder / "environment.json", dict, [])


def _json(path: pathlib.Path, kind: type, unreadable: list[str]) -> Any:
  """The content of a side file; empty where there is none or it is damaged."""
  if not path.is_file():
    return kind()
  try:
    content = json.loads(path.read_text(encoding="utf-8"))
  except (OSError, ValueError) as error:
    unreadable.append(f"{path.name}: {error}")
    return kind()
  if isinstance(content, kind):
    return content
  unreadable.append(f"{path.name}: expected a {kind.__name__}")
  return kind()
