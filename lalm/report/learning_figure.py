"""The figure of training runs: loss by steps and by seconds."""

import math
import statistics
from typing import Any, Mapping, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import ticker

from lalm.report import canvas
from lalm.report import style
from lalm.report.learning import Learner

_LEFT, _RIGHT, _BETWEEN = 0.62, 0.14, 0.30  # inches beside the panels
_TOP, _TALL = 0.30, 2.6  # inches above them, and of them
_LABELS = {
    "copy_task": ("loss", "loss of a step (nats a symbol)"),
    "train_lm": ("bits_per_byte", "held out (bits a byte)"),
}


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
  words = canvas.wrapped(
      f"{heading}. A line is the median over seeds, its band all of them."
  )
  foot = 0.72 + canvas.LINE * len(words)
  height = foot + _TALL + _TOP
  figure = canvas.blank(height)
  width = (style.WIDTH - _LEFT - _RIGHT - _BETWEEN) / 2
  panels: list[mpl_axes.Axes] = []
  for column, (title, label) in enumerate(
      (("by steps", "steps"), ("by time", "seconds of training"))
  ):
    left = _LEFT + column * (width + _BETWEEN)
    place = (left / style.WIDTH, foot / height)
    size = (width / style.WIDTH, _TALL / height)
    share = panels[0] if panels else None
    axes = figure.add_axes((*place, *size), sharey=share)
    axes.set_title(title, loc="left")
    axes.set_xlabel(label)
    axes.grid(True, color="#e6e6e6", linewidth=0.5)
    panels.append(axes)
  name, label = _LABELS[experiment]
  panels[0].set_ylabel(label)
  panels[1].tick_params(labelleft=False, which="both")
  if experiment == "copy_task":
    panels[0].set_yscale("log")
    plain = ticker.FuncFormatter(lambda value, _: f"{value:g}")
    panels[0].yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    panels[0].yaxis.set_minor_locator(ticker.NullLocator())
    panels[0].yaxis.set_major_formatter(plain)
  several = len({one.rate for one in found}) > 1
  drawn = [one for one in found if one.records]
  for number, one in enumerate(drawn):
    _curve(panels, one, number, name, several)
  handles, labels = panels[0].get_legend_handles_labels()
  figure.legend(
      handles,
      labels,
      ncols=min(5, len(labels)),
      loc="lower center",
      bbox_to_anchor=(0.5, (0.14 + canvas.LINE * len(words)) / height),
      frameon=False,
      fontsize=7,
  )
  canvas.caption(figure, words)
  return figure


def _curve(
    panels: Sequence[mpl_axes.Axes],
    one: Learner,
    number: int,
    name: str,
    several: bool,
) -> None:
  """A mixer's line and band in both panels."""
  runs = [_points(record, name) for record in one.records]
  count = min(map(len, runs))
  steps = [runs[0][i][0] for i in range(count)]
  seconds = [statistics.median(r[i][1] for r in runs) for i in range(count)]
  values = [[r[i][2] for r in runs] for i in range(count)]
  colour = style.COLOURS[number % len(style.COLOURS)]
  label = f"{one.mechanism}, {one.rate:g}" if several else one.mechanism
  for axes, x in zip(panels, (steps, seconds), strict=True):
    middle = [statistics.median(v) for v in values]
    axes.plot(x, middle, color=colour, label=label)
    axes.fill_between(
        x,
        [min(v) for v in values],
        [max(v) for v in values],
        color=colour,
        alpha=0.18,
        linewidth=0,
    )


def _points(
    record: Mapping[str, Any], name: str
) -> list[tuple[float, float, float]]:
  """(step, seconds, value) along a run."""
  if name == "loss":
    found = record["curve"]
  else:
    found = [(x["step"], x["seconds"], x[name]) for x in record["judged"]]
  return [(step, t, math.nan if x is None else x) for step, t, x in found]
