"""The tables of libraries side by side: ratios of time with intervals.

A ratio is the other library's seconds over this one's, so above 1 this one is
faster. Both were timed in the same worker process; the ratio is the median over
workers, with its interval (`medians`).
"""

import statistics
from typing import Any, Iterable, Mapping, NamedTuple

from lalm import units
from lalm.report import medians
from lalm.scaling import reading

EXPERIMENT = "peer_comparison"
OURS = "lalm"
MISSING = "missing: needs "  # and what
Record = Mapping[str, Any]
SWEPT = ("mechanism", "form", "pass", "length", "causal", "chunk")
Worker = tuple[int, str]  # a replicate and the process that measured
Place = tuple[str, bool, str, int]  # work, causal, pass, length


class Ratio(NamedTuple):
  """A line of the table.

  Attributes:
    work: "softmax" or "linear".
    causal: whether it is.
    pass_: "forward" or "forward_backward".
    length: sequence length.
    library: the other one.
    ours: this library's seconds, median over workers; None if unknown.
    theirs: the other's.
    each: theirs / ours, a number for each worker that has timed both.
    remark: why there is no ratio, "" where there is one.
  """

  work: str
  causal: bool
  pass_: str
  length: int
  library: str
  ours: float | None
  theirs: float | None
  each: tuple[float, ...]
  remark: str

  @property
  def ratio(self) -> float | None:
    """The median over workers."""
    return statistics.median(self.each) if self.each else None


def tables(
    records: Iterable[Record],
    environment: Mapping[str, Any],
    missing: Mapping[str, Mapping[str, str]],
) -> str:
  """Returns all tables as Markdown: those of the newest setting first.

  Args:
    records: of one device's folder; those of other experiments are left out.
    environment: of that folder.
    missing: work -> libraries that cannot compute here -> what they need.
  """
  return "\n".join(
      markdown(ratios(own, missing), heading(own, environment))
      for own in medians.settings(records, EXPERIMENT, SWEPT)
  )


def ratios(
    records: Iterable[Record], missing: Mapping[str, Mapping[str, str]]
) -> list[Ratio]:
  """Returns a line for each point and each other library.

  Args:
    records: of one setting on one device.
    missing: work -> libraries that cannot compute here -> what they need.
  """
  members: dict[Place, dict[str, list[Record]]] = {}
  for record in records:
    point = record["point"]
    work, pass_ = point["mechanism"], point["pass"]
    place = (work, point["causal"], pass_, point["length"])
    libraries = members.setdefault(place, {})
    libraries.setdefault(point["form"], []).append(record)
  lines = []
  for place, libraries in members.items():
    found = {library: _times(own) for library, own in libraries.items()}
    for library, own in libraries.items():
      if library != OURS:
        lines.append(_line(place, library, found, medians.trouble(own)))
    for library, needs in missing.get(place[0], {}).items():
      if library not in found:
        lines.append(_line(place, library, found, MISSING + needs))
  order = lambda line: (line.work, line.library, line.causal, line.pass_)
  return sorted(lines, key=lambda line: (*order(line), line.length))


def _times(records: list[Record]) -> dict[Worker, float]:
  """Worker -> median seconds of a call; a replicate may have several."""
  return {
      (replicate, str(record.get("worker"))): statistics.median(
          record["seconds"]
      )
      for replicate, record in reading.newest(records).items()
  }


def _line(
    place: Place,
    library: str,
    found: Mapping[str, Mapping[Worker, float]],
    remark: str,
) -> Ratio:
  ours, theirs = found.get(OURS, {}), found.get(library, {})
  both = sorted(set(ours) & set(theirs))
  middle = lambda times: statistics.median(times.values()) if times else None
  each = [theirs[worker] / ours[worker] for worker in both]
  return Ratio(
      *place,
      library,
      middle(ours),
      middle(theirs),
      tuple(each),
      "" if each else remark or "not measured",
  )


def markdown(lines: Iterable[Ratio], heading: str) -> str:
  """Returns the tables as Markdown under a line that says what was measured.

  Ratios by length, then seconds by length, then why cells are empty.
  """
  curves: dict[tuple[str, str, str], dict[int, Ratio]] = {}
  for line in lines:
    work = f"{line.work}, {'causal' if line.causal else 'full'}"
    curve = (work, line.library, line.pass_.replace("_", "+"))
    curves.setdefault(curve, {})[line.length] = line
  lengths = sorted({length for found in curves.values() for length in found})
  shares: list[list[str]] = []
  times: dict[tuple[str, ...], list[str]] = {}
  for (work, library, pass_), found in curves.items():
    at = [found.get(length) for length in lengths]
    first = next(iter(found.values()))
    if first.remark.startswith(MISSING):
      blank = [""] * (len(lengths) - 1)
      shares.append([work, library, pass_, first.remark, *blank])
    else:
      shares.append([work, library, pass_, *map(_share, at)])
      times[work, library, pass_] = [_seconds(x and x.theirs) for x in at]
    times[work, OURS, pass_] = [_seconds(x and x.ours) for x in at]
  head = ["work", "library", "pass", *(f"{length:,}" for length in lengths)]
  rows = [[*curve, *cells] for curve, cells in sorted(times.items())]
  return "\n".join(
      [
          f"**{heading}**",
          "",
          "Seconds of the other library over those of lalm, by length:",
          "",
          *medians.table(head, shares, 3),
          "",
          "Time of a call, by length:",
          "",
          *medians.table(head, rows, 3),
          "",
          *_notes(curves),
          "",
      ]
  )


def _share(line: Ratio | None) -> str:
  return "" if line is None else medians.cell(line.each)


def _seconds(value: float | None) -> str:
  return "" if value is None else units.seconds(value)


def _notes(
    curves: Mapping[tuple[str, str, str], Mapping[int, Ratio]],
) -> list[str]:
  """Why a length of a curve has no ratio; the first reason stands for all."""
  notes = []
  for curve, found in curves.items():
    empty = [x for x in found.values() if x.ratio is None]
    if empty and not empty[0].remark.startswith(MISSING):
      at = ", ".join(f"{line.length:,}" for line in empty)
      notes.append(f"- {', '.join(curve)} at {at}: {empty[0].remark}")
  return notes


def heading(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns what was measured where: device, versions, setting."""
  records = list(records)
  return (
      f"{medians.place(records, environment)}; medians over"
      f" {medians.workers(records)} that run all libraries, in"
      " brackets 95 % of the medians of workers drawn anew; above 1: lalm is"
      " faster"
  )
