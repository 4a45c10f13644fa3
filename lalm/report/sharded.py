"""Laws of split sequences: bytes of a device in tokens n and in devices P.

    bytes = a n/P + b n + c P + d,   a, b, c, d >= 0

by least squares of relative distances over all n and P: what is split, what
each device has all of, what it has of each other, and what does not grow.
Machines of one kind, told by their names, share a law. Nothing was run.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
import json
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np
from scipy import optimize

from lalm import store
from lalm import units
from lalm.report import build
from lalm.report import compiled
from lalm.report import laws
from lalm.report import medians
from lalm.report import results
from lalm.scaling import reading

EXPERIMENT = "sharded_scaling"
_WHAT = "one sequence split over P devices"
Record = Mapping[str, Any]
TERMS: Mapping[str, Callable[[int, int], float]] = {
    "n/P": lambda n, p: n / p,
    "n": lambda n, p: n,
    "P": lambda n, p: p,
    "1": lambda n, p: 1.0,
}
_MATTERS = 0.01  # a term's least share of some point
_COUNT = re.compile(r"(x\d+|-[\dx]+)$")  # of a machine's name


class Law(NamedTuple):
  """Bytes as a sum of terms, none of them negative.

  Attributes:
    terms: of `TERMS` -> bytes; those that matter at some point.
    miss: the largest relative distance of a point.
  """

  terms: dict[str, float]
  miss: float


class Line(NamedTuple):
  """One form and pass on one kind of machine.

  Attributes:
    kind: of machines.
    name: of the form.
    pass_: forward, or forward_backward.
    split: how the sequence is split.
    points: (tokens, devices) -> the record.
    remarks: why there are no others.
  """

  kind: str
  name: str
  pass_: str
  split: str
  points: dict[tuple[int, int], Record]
  remarks: tuple[str, ...]


def device_bytes(record: Record) -> float:
  """All that is live at once on a device; NaN if unknown."""
  return reading.number((record.get("memory") or {}).get("device_bytes"))


def communication(record: Record) -> float:
  """Bytes that a device gets from others; NaN for none."""
  return reading.quantity(record, "communication")


def law(line: Line, quantity: Callable[[Record], float]) -> Law | None:
  """The law of a quantity.

  None without three points that have it, of several lengths and several counts
  of devices: a term of P would be told from one by chance.

  Args:
    line: of a form.
    quantity: from a record to a number, NaN where it has none.
  """
  known = {
      place: value
      for place, record in sorted(line.points.items())
      if (value := quantity(record)) == value
  }
  lengths, counts = map(set, zip(*known)) if known else (set(), set())
  if len(known) < 3 or len(lengths) < 2 or len(counts) < 2:
    return None
  values = np.array(list(known.values()))
  matrix = np.array([[t(n, p) for t in TERMS.values()] for n, p in known])
  relative = matrix / values[:, None]
  scale = np.linalg.norm(relative, axis=0)
  found = optimize.nnls(relative / scale, np.ones(len(values)))[0] / scale
  matters = (relative * found).max(axis=0) >= _MATTERS
  found = np.where(matters, found, 0.0)
  miss = float(np.max(np.abs(relative @ found - 1)))
  terms = {name: float(c) for name, c in zip(TERMS, found) if c}
  return Law(terms, miss)


def lines(
    records: Iterable[Record], devices: Mapping[str, int]
) -> dict[str, list[Line]]:
  """Returns heading -> lines, by kind of machine, form and pass.

  Args:
    records: of all machines' folders; those of other experiments are left out.
    devices: machine -> how many it has.
  """
  groups: dict[str, dict[tuple, list[Record]]] = {}
  own = ("mechanism", "form", "pass", "chunk", "length")
  for record in records:
    point = record.get("point") or {}
    machine = str(record.get("machine"))
    if record.get("experiment") == EXPERIMENT and machine in devices:
      shared = {name: x for name, x in point.items() if name not in own}
      members = groups.setdefault(json.dumps(shared, sort_keys=True), {})
      name = laws.short(f"{point['mechanism']}.{point['form']}")
      name += f" C={point['chunk']}" if point.get("chunk") else ""
      whose = (_COUNT.sub("", machine), name, point["pass"])
      members.setdefault(whose, []).append(record)
  return {
      compiled.heading(next(iter(members.values())), _WHAT): [
          _line(whose, members[whose], devices) for whose in sorted(members)
      ]
      for _, members in sorted(groups.items())
  }


def _line(
    whose: tuple[str, str, str],
    records: Sequence[Record],
    devices: Mapping[str, int],
) -> Line:
  places: dict[tuple[int, int], list[Record]] = {}
  for record in records:
    count = devices[str(record["machine"])]
    places.setdefault((record["point"]["length"], count), []).append(record)
  found, remarks = {}, []
  for (tokens, count), own in sorted(places.items()):
    newest = reading.newest(own)
    if newest:
      found[tokens, count] = newest[max(newest)]
    elif trouble := medians.trouble(own):
      remarks.append(f"n = {units.count(tokens)}, P = {count}: {trouble}")
  splits = {str(r.get("sharding")) for r in found.values()}
  return Line(*whose, ", ".join(sorted(splits)), found, tuple(remarks))


def markdown(found: Mapping[str, Sequence[Line]]) -> str:
  """Returns a table for each setting."""
  return "\n".join(_table(heading, own) for heading, own in found.items())


def _table(heading: str, found: Sequence[Line]) -> str:
  head = [
      "machines", "form", "pass", "split by", "memory of a device",
      "communication of a device", "at the largest n and P",
  ]  # fmt: skip
  rows = [
      [
          f"{line.kind}, P = {_counts(line)}",
          line.name,
          laws.pass_name(line.pass_),
          line.split,
          _cell(law(line, device_bytes)),
          _cell(law(line, communication)),
          _largest(line),
      ]
      for line in found
      if line.points
  ]
  notes = [
      "Laws a n/P + b n + c P + d by least squares of relative distances over"
      " all n and P: what is split, what each device has all of, what it has of"
      " each other; in brackets the largest relative miss of a point.",
      "Memory is all that is live at once, inputs included; communication is"
      " what a device gets from others, sums twice.",
  ]
  for line in found:
    what = f"{line.kind}, {line.name}, {laws.pass_name(line.pass_)}"
    notes += [f"{what}, {remark}" for remark in line.remarks]
  bullets = [f"- {note}" for note in notes]
  table = medians.table(head, rows, words=4)
  return "\n".join([f"**{heading}**", "", *table, "", *bullets, ""])


def _counts(line: Line) -> str:
  return ", ".join(str(p) for p in sorted({p for _, p in line.points}))


def _cell(found: Law | None) -> str:
  if found is None:
    return units.MISSING
  words = (
      units.size(size) + ("" if name == "1" else f" {name}")
      for name, size in found.terms.items()
  )
  return f"{' + '.join(words)} ({units.share(found.miss)})"


def _largest(line: Line) -> str:
  tokens, count = max(line.points, key=lambda place: place[::-1])
  record = line.points[tokens, count]
  moved = communication(record)
  size = units.size(moved) if moved == moved else "nothing"
  return (
      f"n = {units.count(tokens)}, P = {count}:"
      f" {units.size(device_bytes(record))}, {size}"
  )


def publish(folder: pathlib.Path) -> None:
  """Writes `table.md` and the figure of all machines; prints the table.

  Args:
    folder: has a folder with `records.jsonl` for each machine.
  """
  records: list[Record] = []
  devices: dict[str, int] = {}
  for path in sorted(folder.glob("*/records.jsonl")):
    environment = results.environment(path.parent)
    records += store.load(path).records
    devices[path.parent.name] = environment.get("device_count") or 1
  found = lines(records, devices)
  build.publish_machines(folder, "sharded", markdown(found), found.items())
