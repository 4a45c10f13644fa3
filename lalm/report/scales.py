"""The axes of a panel: limits, ticks, and the room for what is beside data.

Positions that must not overlap are computed in inches of the panel, so nothing
depends on how a library lays out.
"""

import math
from typing import Callable, NamedTuple, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import ticker

from lalm import units
from lalm.report import points

NAMED = 3  # crossovers of a panel that are labelled
ROW = 0.115  # inches between two lines of small text
_GAP = 0.10  # inches between data and what is drawn beside it


class Frame(NamedTuple):
  """The extent of a panel: inches, and the lengths it spans."""

  width: float
  height: float
  lengths: tuple[int, ...]

  def limits(self) -> tuple[float, float]:
    """The first and last length with room for markers."""
    low, high = self.lengths[0], self.lengths[-1]
    if low == high:
      return low / 2, high * 2
    room = (high / low) ** 0.05
    return low / room, high * room


def room(
    shown: Sequence[points.Spread], labels: int, frame: Frame
) -> tuple[float, float]:
  """Limits of a log-log panel that leave room for what is beside the data.

  Args:
    shown: every point of the panel's row, at least one.
    labels: lines of text at the foot.
    frame: the extent of the panel.

  Returns:
    Bottom and top of the axis: guide slopes fit above the data on the left,
    labels of crossovers below it.
  """
  low = math.log10(min(max(s.low, s.centre / 3) for s in shown))
  high = math.log10(max(s.high for s in shown))
  start, stop = guide_span(frame)
  near = [math.log10(s.high) for s in shown if s.length <= stop * 1.2]
  guide = 2 * math.log10(stop / start) + max(near, default=low)
  bottom, top = low, high
  # Gaps are inches, data are decades: a few rounds settle the scale.
  for _ in range(8):
    inch = max(top - bottom, 0.5) / frame.height
    bottom = low - inch * (_GAP + ROW * labels)
    top = max(high + inch * _GAP, guide + inch * (_GAP + ROW))
  middle, half = (top + bottom) / 2, max(top - bottom, 0.5) / 2
  return 10 ** (middle - half), 10 ** (middle + half)


def guide_span(frame: Frame) -> tuple[float, float]:
  """The lengths between which the guide slopes are drawn."""
  low, high = frame.limits()
  start = low * (high / low) ** 0.05
  return start, start * (high / low) ** 0.22


def lengths_axis(ax: mpl_axes.Axes, frame: Frame) -> None:
  """Ticks at the lengths of the sweep, labels as far as they do not touch."""
  low, high = frame.limits()
  per_inch = math.log(high / low) / frame.width
  labelled: list[int] = []
  # From the largest down: the end of the sweep is what one looks for.
  for length in reversed(frame.lengths):
    needed = 0.06 * (len(f"{length:,}") + 1) * per_inch
    if not labelled or math.log(labelled[-1] / length) > needed:
      labelled.append(length)
  rest = [length for length in frame.lengths if length not in labelled]
  ax.xaxis.set_major_locator(ticker.FixedLocator(labelled[::-1]))
  ax.xaxis.set_major_formatter(
      ticker.FixedFormatter([f"{length:,}" for length in labelled[::-1]])
  )
  ax.xaxis.set_minor_locator(ticker.FixedLocator(rest))
  ax.xaxis.set_minor_formatter(ticker.NullFormatter())


def value_ticks(
    limits: tuple[float, float], quantity: str
) -> tuple[list[float], Callable[[float], str]]:
  """At most six ticks of a log axis, and how they are written."""
  low, high = limits
  if quantity == "memory":
    first, last = math.ceil(math.log2(low)), math.floor(math.log2(high))
    step = max(1, math.ceil((last - first + 1) / 6))
    first = -(-first // step) * step
    return [2.0**i for i in range(first, last + 1, step)], _size
  first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
  for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
    ticks = [s * 10.0**i for i in range(first, last + 1) for s in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) >= 3:
      return ticks, _seconds
  return ticks, _seconds


def _seconds(value: float) -> str:
  return _bare(units.seconds(value)).replace("us", "µs")


def _bare(words: str) -> str:
  """`10 ms` for `10.0 ms`: a tick is exact."""
  value, _, unit = words.partition(" ")
  return f"{float(value.replace(',', '')):g} {unit}"


def _size(value: float) -> str:
  return _bare(units.size(value))
