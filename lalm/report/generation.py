"""The table of generated sequences: seconds, and ratios beside the paper's.

Ratios are of the seconds of two ways in the same replicate, which one process
times where both were asked for at once, with the interval of `medians`; what is
compared with is linear attention with its state.
"""

import statistics
from typing import Any, Iterable, Mapping

from lalm import units
from lalm.report import medians
from lalm.scaling import reading

EXPERIMENT = "generation_time"
Record = Mapping[str, Any]
_HEAD = ("tokens", "layers", "way", "seconds", "over linear", "paper")
_WAYS = {
    ("softmax", "stateless"): "softmax, no cache (integral)",
    ("softmax", "whole"): "softmax, no cache (every prefix)",
    ("softmax", "state"): "softmax, cached",
    ("linear", "state"): "linear, its state",
}
# Katharopoulos et al. 2020 (arXiv 2006.16236), Table 5: over linear, on a CPU.
PAPER = {
    (784, 8, "softmax", "stateless"): 13.2,
    (784, 8, "softmax", "state"): 1.3,
    (3072, 16, "softmax", "stateless"): 191.8,
    (3072, 16, "softmax", "state"): 1.6,
}
_SIZES = {"batch": 1, "heads": 8, "width": 32, "value_width": 32}  # there
_ALLOWED = 0.05  # by which the integral may be off
_NOTES = (
    "Random weights and the likeliest token of 256, where the paper has trained"
    " weights and draws from ten logistics; both call the model at each token.",
    "A token reads the whole cache, which has room for all of them: twice what"
    " one that grows would read on average.",
)


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns a table for each setting as Markdown, the newest first.

  Args:
    records: of one device's folder; those of other experiments are left out.
    environment: of that folder.
  """
  swept = ("mechanism", "form", "length", "layers")
  return "\n".join(
      _table(own, environment)
      for own in medians.settings(records, EXPERIMENT, swept)
  )


def _table(records: list[Record], environment: Mapping[str, Any]) -> str:
  members: dict[tuple, list[Record]] = {}
  for record in records:
    point = record["point"]
    names = ("length", "layers", "mechanism", "form")
    members.setdefault(tuple(point[n] for n in names), []).append(record)
  times = {place: _seconds(own) for place, own in members.items()}
  rows, notes = [], list(_NOTES)
  point = records[0]["point"]
  papers = all(point.get(name, size) == size for name, size in _SIZES.items())
  for place in sorted(members, key=_order):
    length, layers, mechanism, form = place
    if trouble := medians.trouble(members[place]):
      notes.append(f"{_name(place)}: {trouble}")
    if not times[place]:
      continue
    base = times.get((length, layers, "linear", "state"), {})
    rows.append(
        [
            f"{length:,}",
            str(layers),
            _WAYS.get((mechanism, form), f"{mechanism}, {form}"),
            units.seconds(statistics.median(times[place].values())),
            ""
            if (mechanism, form) == ("linear", "state")
            else medians.cell(_ratios(times[place], base)),
            str(PAPER.get(place, "")) if papers else "",
        ]
    )
    if form == "whole":
      notes += _agreement(place, times)
  heading = (
      f"**{medians.place(records, environment)}; medians over"
      f" {medians.workers(records)}, in brackets 95 % of the medians of"
      " workers drawn anew**"
  )
  lines = medians.table(list(_HEAD), rows, words=3)
  return "\n".join([heading, "", *lines, "", *(f"- {n}" for n in notes), ""])


def _name(place: tuple) -> str:
  length, layers, mechanism, form = place
  return f"{mechanism}.{form}, {length:,} tokens, {layers} layers"


def _order(place: tuple) -> tuple:
  known = list(_WAYS)
  way = place[2:]
  return place[:2], known.index(way) if way in known else len(known), way


def _seconds(records: list[Record]) -> dict[int, float]:
  """Worker -> seconds of a sequence."""
  found = reading.newest(records)
  return {r: statistics.median(x["seconds"]) for r, x in found.items()}


def _ratios(
    times: Mapping[int, float], base: Mapping[int, float]
) -> tuple[float, ...]:
  """Ratios of the workers that have measured both."""
  return tuple(times[r] / base[r] for r in sorted(times) if r in base)


def _agreement(place: tuple, times: Mapping[tuple, Any]) -> list[str]:
  """How far the integral is from every prefix run, in the same replicates."""
  integral = times.get((*place[:3], "stateless"), {})
  each = _ratios(integral, times[place])
  if not each:
    return []
  middle = statistics.median(each)
  kept = "within" if abs(middle - 1) <= _ALLOWED else "beyond"
  return [
      f"{_name(place)}: the integral over all prefixes run is"
      f" {middle:.3f}, {kept} the {_ALLOWED:.0%} that are allowed"
  ]
