"""The figure of training runs: loss by steps, by seconds, by position."""

from collections.abc import Callable
import math
import statistics
from typing import Any, Mapping, NamedTuple, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import ticker

from lalm import units
from lalm.report import canvas
from lalm.report import columns
from lalm.report import style
from lalm.report.learning import Learner

_LABELS = {
    "copy_task": "loss (nats a symbol)",
    "train_lm": "held out (bits a byte)",
}
Points = list[tuple[float, float]]  # along a run: (place, value)


class Panel(NamedTuple):
  """A panel: its title, what is along it, and a run's points in it."""

  title: str
  label: str
  points: Callable[[Mapping[str, Any]], Points]


def render(
    found: Sequence[Learner], experiment: str, heading: str
) -> dict[str, bytes]:
  """Returns the figure of one setting as the bytes of each format.

  Args:
    found: the mixers, those without a run left out.
    experiment: whose runs they are.
    heading: what was trained where.
  """
  return canvas.render(lambda: draw(found, experiment, heading))


def draw(
    found: Sequence[Learner], experiment: str, heading: str
) -> mpl_figure.Figure:
  """The figure, not yet written; see `render`."""
  drawn = [one for one in found if one.records]
  own = _panels(experiment, drawn[0].records[0]["point"])
  made = columns.make(
      [panel.title for panel in own],
      f"{heading}. A line is the median over seeds, its band all of them.",
      tall=2.6,
      between=0.30,
      shared=True,
  )
  each = made.axes
  each[0].set_ylabel(_LABELS[experiment])
  for axes, panel in zip(each, own, strict=True):
    axes.set_xlabel(panel.label)
  if experiment == "copy_task":
    _logarithmic(each[0])
  several = len({one.rate for one in drawn}) > 1
  for number, one in enumerate(drawn):
    colour = style.COLOURS[number % len(style.COLOURS)]
    label = f"{one.mechanism}, {one.rate:g}" if several else one.mechanism
    for axes, panel in zip(each, own, strict=True):
      _curve(axes, [panel.points(r) for r in one.records], colour, label)
  made.legend(5)
  return made.figure


def _panels(experiment: str, point: Mapping[str, Any]) -> list[Panel]:
  along = _losses if experiment == "copy_task" else _judged
  tokens = units.count(point["batch"] * point["length"])
  found = [
      Panel("by steps", f"steps of {tokens} tokens", along("step")),
      Panel("by time", "seconds of training", along("seconds")),
  ]
  if experiment == "train_lm":
    found.append(Panel("in the end", "position in the context", _by_position))
  return found


def _logarithmic(axes: mpl_axes.Axes) -> None:
  axes.set_yscale("log")
  plain = ticker.FuncFormatter(lambda value, _: f"{value:g}")
  axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  axes.yaxis.set_minor_locator(ticker.NullLocator())
  axes.yaxis.set_major_formatter(plain)


def _curve(
    axes: mpl_axes.Axes, runs: Sequence[Points], colour: str, label: str
) -> None:
  """A mixer's line, and a band of all its seeds."""
  each = list(zip(*runs))  # the seeds' points side by side
  x = [statistics.median(p[0] for p in points) for points in each]
  values = [[p[1] for p in points] for points in each]
  axes.plot(
      x, [_drawn(statistics.median(v)) for v in values],
      color=colour, label=label,
  )  # fmt: skip
  # Where a seed has diverged, the band has no upper edge, and ends.
  low, high = ([_drawn(edge(v)) for v in values] for edge in (min, max))
  axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)


def _number(value: float | None) -> float:
  """A loss, infinite where it is recorded as no number, as in the table."""
  return math.inf if value is None else value


def _drawn(value: float) -> float:
  return value if math.isfinite(value) else math.nan


def _losses(name: str) -> Callable[[Mapping[str, Any]], Points]:
  """Losses of steps, by the step or by the second."""
  place = ("step", "seconds").index(name)
  return lambda record: [(x[place], _number(x[2])) for x in record["curve"]]


def _judged(name: str) -> Callable[[Mapping[str, Any]], Points]:
  """Bits a byte where a run was judged, by the step or by the second."""
  return lambda record: [
      (x[name], _number(x["bits_per_byte"])) for x in record["judged"]
  ]


def _by_position(record: Mapping[str, Any]) -> Points:
  """Bits a byte in the end, at the middle of each bin of positions."""
  values, length = record["by_position"], record["point"]["length"]
  # The first bins have a position more where they cannot be equal.
  least, more = divmod(length, len(values))
  ends = [(i + 1) * least + min(i + 1, more) for i in range(len(values))]
  middles = [(a + b) / 2 for a, b in zip([0, *ends], ends)]
  return [(x, _number(y)) for x, y in zip(middles, values, strict=True)]
