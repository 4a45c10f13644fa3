"""The table of libraries side by side: ratios of time with intervals.

A ratio is the other library's seconds over this one's, so above 1 this one is
faster. Both were timed in the same worker process; the ratio is the median over
workers, the interval the range of medians of resampled workers that holds 95 %.
"""

import statistics
from typing import Any, Iterable, Mapping, NamedTuple

import numpy as np

from lalm.report import units
from lalm.scaling import intervals

OURS = "lalm"
Record = Mapping[str, Any]


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
    ratio: theirs / ours.
    interval: of the ratio, None with fewer than 3 workers.
    remark: why there is no ratio, "" where there is one.
  """

  work: str
  causal: bool
  pass_: str
  length: int
  library: str
  ours: float | None
  theirs: float | None
  ratio: float | None
  interval: tuple[float, float] | None
  remark: str


def ratios(
    records: Iterable[Record], missing: Mapping[str, Iterable[str]]
) -> list[Ratio]:
  """Returns a line for each point and each other library.

  Args:
    records: of the experiment `peer_comparison`, of one device.
    missing: work -> libraries that do not import here.
  """
  times: dict[tuple[str, bool, str, int], dict[str, dict[int, float]]] = {}
  remarks: dict[tuple, str] = {}
  for record in records:
    point = record["point"]
    place = (
        point["mechanism"],
        point["causal"],
        point["pass"],
        point["length"],
    )
    found = times.setdefault(place, {})
    library = point["form"]
    if record["status"] == "ok":
      seconds = statistics.median(record["seconds"])
      found.setdefault(library, {})[record["replicate"]] = seconds
    else:
      found.setdefault(library, {})
      words = f"{record['status']}: {record.get('reason', '')}".strip(": ")
      remarks[(*place, library)] = words
  lines = []
  for place, found in times.items():
    for library in found:
      if library != OURS:
        remark = remarks.get((*place, library), "")
        lines.append(_line(place, library, found, remark))
    for library in missing.get(place[0], ()):
      if library not in found:
        lines.append(_line(place, library, found, "missing: not installed"))
  order = lambda line: (line.work, line.library, line.causal, line.pass_)
  return sorted(lines, key=lambda line: (*order(line), line.length))


def _line(
    place: tuple[str, bool, str, int],
    library: str,
    found: Mapping[str, Mapping[int, float]],
    remark: str,
) -> Ratio:
  ours, theirs = found.get(OURS, {}), found.get(library, {})
  both = sorted(set(ours) & set(theirs))
  middle = lambda times: statistics.median(times.values()) if times else None
  if not both:
    words = remark or "not measured"
    return Ratio(
        *place, library, middle(ours), middle(theirs), None, None, words
    )
  each = [theirs[number] / ours[number] for number in both]
  ratio = statistics.median(each)
  interval = _interval(each) if len(each) >= 3 else None
  return Ratio(
      *place, library, middle(ours), middle(theirs), ratio, interval, ""
  )


def _interval(each: list[float]) -> tuple[float, float]:
  """95 % of the medians of samples of whole workers, drawn with repeats."""
  index, weight = intervals.draws(len(each))
  medians = np.median(np.array(each)[index], axis=1)
  tail = (1 - intervals.LEVEL) / 2
  return (
      intervals.quantile(medians, weight, tail),
      intervals.quantile(medians, weight, 1 - tail),
  )


def markdown(lines: Iterable[Ratio], heading: str) -> str:
  """Returns the table as Markdown under a line that says what was measured."""
  rows = [
      "| work | library | pass | n | lalm | other | other / lalm |",
      "| --- | --- | --- | ---: | ---: | ---: | --- |",
  ]
  for line in lines:
    work = f"{line.work}, {'causal' if line.causal else 'full'}"
    seconds = [
        "" if x is None else units.seconds(x) for x in (line.ours, line.theirs)
    ]
    if line.ratio is None:
      verdict = line.remark
    else:
      verdict = f"{line.ratio:.2f}"
      if line.interval is not None:
        verdict += f" [{line.interval[0]:.2f}, {line.interval[1]:.2f}]"
    pass_ = line.pass_.replace("_", "+")
    cells = (work, line.library, pass_, f"{line.length:,}", *seconds, verdict)
    rows.append(f"| {' | '.join(cells)} |")
  return "\n".join([f"**{heading}**", "", *rows, ""])


def heading(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns what was measured where: device, versions, setting."""
  records = list(records)
  versions: dict[str, str] = {}
  for record in records:
    versions.update(record.get("versions") or {})
  point = records[0]["point"]
  workers = len({record["replicate"] for record in records})
  used = ", ".join(f"{name} {versions[name]}" for name in sorted(versions))
  return (
      f"{environment.get('slug', environment.get('device', 'device'))};"
      f" {used}; B={point['batch']}, H={point['heads']}, d={point['width']},"
      f" {point['dtype']}; medians over {workers} worker processes that run"
      " all libraries; other / lalm above 1: lalm is faster"
  )
