"""The figure of throughput: tokens a second against the batch, log-log."""

import math
import statistics

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import ticker

from lalm.report import canvas, style
from lalm.report.results import Curve
from lalm.report.throughput import Setting

_WIDTH, _HEIGHT = 5.4, 3.0  # inches of the panel
_LEFT, _BOTTOM, _TOP = 0.75, 0.62, 0.34
_LINE = 0.13  # inches between two names


def render(setting: Setting) -> dict[str, bytes]:
  """Returns the figure of one context as the bytes of each format."""
  return canvas.render(lambda: draw(setting))


def draw(setting: Setting) -> mpl_figure.Figure:
  """The figure, not yet written; see `render`."""
  words = canvas.wrapped(setting.heading)
  foot = _BOTTOM + canvas.LINE * (len(words) - 1)
  height = foot + _HEIGHT + _TOP
  figure = canvas.blank(height)
  left, bottom = _LEFT / style.WIDTH, foot / height
  ax = figure.add_axes((left, bottom, _WIDTH / style.WIDTH, _HEIGHT / height))
  ax.set_xscale("log", base=2)
  ax.set_yscale("log")
  ax.grid(axis="y", color="#e6e6e6", linewidth=0.5)
  ax.set_axisbelow(True)
  ax.set_xlabel("batch B (sequences)")
  ax.set_ylabel("tokens a second")
  ax.set_xticks(setting.batches, [f"{b:,}" for b in setting.batches])
  ax.xaxis.set_minor_locator(ticker.NullLocator())
  ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
  ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:,.0f}"))
  ax.yaxis.set_minor_locator(ticker.NullLocator())
  named = [Curve(line.mechanism, "step") for line in setting.lines]
  looks = style.looks(named)
  ends = []
  for line, curve in zip(setting.lines, named):
    look = looks[curve]
    batches = sorted(line.rates)
    centres = [statistics.median(line.rates[b]) for b in batches]
    low = [min(line.rates[b]) for b in batches]
    high = [max(line.rates[b]) for b in batches]
    ax.fill_between(
        batches, low, high, color=look.colour, alpha=0.2, linewidth=0
    )
    ax.plot(
        batches,
        centres,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markeredgecolor="white",
        markeredgewidth=0.4,
    )
    ends.append((centres[-1], line.mechanism, look.colour))
  _names(ax, ends)
  ax.set_title(
      "Tokens decoded a second: median of workers, bands their range",
      loc="left",
  )
  canvas.caption(figure, words)
  return figure


def _names(ax: mpl_axes.Axes, ends: list[tuple[float, str, str]]) -> None:
  """Writes each name beside the end of its line, where none overlap."""
  low, high = (math.log10(value) for value in ax.get_ylim())
  step = _LINE / _HEIGHT * (high - low)
  level = -math.inf
  for value, name, colour in sorted(ends):
    level = max(math.log10(value), level + step)
    ax.annotate(
        name,
        (1, 10**level),
        (4, 0),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=colour,
        va="center",
        annotation_clip=False,
    )
