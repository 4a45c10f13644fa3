"""The points of a curve: a centre and a band over workers, and what failed."""

import math
import statistics
from typing import Iterable, Mapping, NamedTuple

from lalm import units
from lalm.report.results import Curve, Group, measured
from lalm.scaling import reading


class Spread(NamedTuple):
  """A quantity at one length: the centre over workers and its band."""

  length: int
  centre: float
  low: float
  high: float
  fitted: bool  # True: bootstrap interval of the fit; False: range of workers


def replicate_values(records: Iterable[Mapping], quantity: str) -> list[float]:
  """One value for each worker that measured it, as the fits read it."""
  values = (reading.quantity(record, quantity) for record in measured(records))
  return [value for value in values if not math.isnan(value)]


def spreads(
    group: Group, curve: Curve, pass_: str, quantity: str
) -> tuple[Spread, ...]:
  """The measured points of one curve, ascending in length.

  The centre is the median over workers. The band is the fit's where it holds
  that centre, else the range over workers: a stale fit never moves a point.
  """
  bands = _bands(group.fits.get((curve, pass_, quantity), {}))
  found = []
  for length in group.lengths():
    records = group.points.get((curve, pass_, length), ())
    values = replicate_values(records, quantity)
    if not values:
      continue
    centre = statistics.median(values)
    low, high = bands.get(length, (math.inf, -math.inf))
    fitted = low <= centre <= high
    band = (low, high) if fitted else (min(values), max(values))
    found.append(Spread(length, centre, *band, fitted))
  return tuple(found)


def failures(group: Group, curve: Curve, pass_: str) -> dict[int, str]:
  """Length -> status, where at least one worker's last line is not ok.

  Where workers differ the gravest status is told: a wrong value before a
  crash, a crash before a point that was only left out.
  """
  found = {}
  for length in group.lengths():
    records = group.points.get((curve, pass_, length), ())
    bad = [r["status"] for r in records if r["status"] != "ok"]
    if bad:
      found[length] = min(bad, key=_gravity)
  return found


STATUSES = (
    "refused",
    "wrong",
    "not_finite",
    "out_of_memory",
    "timeout",
    "crashed",
    "over_budget",
    "skipped",
)


def _gravity(status: str) -> tuple[int, str]:
  known = STATUSES.index(status) if status in STATUSES else len(STATUSES)
  return known, status


def _bands(fit: Mapping) -> dict[int, tuple[float, float]]:
  lengths, bands = fit.get("lengths"), fit.get("band")
  if not isinstance(lengths, list) or not isinstance(bands, list):
    return {}
  pairs = zip(lengths, map(units.interval, bands), strict=False)
  return {length: pair for length, pair in pairs if pair is not None}
