"""Figures of panels side by side, with a caption below, and maybe a legend."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import axes as mpl_axes
from matplotlib import axis as mpl_axis
from matplotlib import figure as mpl_figure
from matplotlib import ticker

from lalm.report import canvas
from lalm.report import style

_RIGHT, _TOP = 0.14, 0.30  # inches beside and above all
_AXIS = 0.50  # inches of an axis' numbers and label
_LEGEND = 0.22  # inches of a line of the legend
_LIFT = 0.14  # inches from the caption to the legend


class Columns(NamedTuple):
  """A figure and its axes, from left to right.

  Attributes:
    figure: all of it.
    axes: each with a grid.
    under: share of the height up to the legend.
  """

  figure: mpl_figure.Figure
  axes: tuple[mpl_axes.Axes, ...]
  under: float

  def legend(self, across: int | None = None) -> None:
    """Draws what the first axes' curves are, below all.

    Args:
      across: entries a line; all in one if None.
    """
    handles, labels = self.axes[0].get_legend_handles_labels()
    self.figure.legend(
        handles,
        labels,
        ncols=min(across or len(labels), len(labels)) or 1,
        loc="lower center",
        bbox_to_anchor=(0.5, self.under),
        frameon=False,
        fontsize=7,
    )


def make(
    titles: Sequence[str],
    words: str,
    *,
    tall: float = 2.5,
    left: float = 0.62,
    between: float = 0.55,
    legend: bool = True,
    shared: bool = False,
) -> Columns:
  """Returns panels of equal widths.

  Args:
    titles: one a panel.
    words: of the caption.
    tall: inches of the panels.
    left: inches before the first.
    between: inches between two.
    legend: whether to leave room for one.
    shared: whether all have the values of the first.
  """
  lines = canvas.wrapped(words)
  caption = canvas.LINE * len(lines)
  foot = _AXIS + _LEGEND * legend + caption
  height = foot + tall + _TOP
  figure = canvas.blank(height)
  count = len(titles)
  wide = (style.WIDTH - left - _RIGHT - (count - 1) * between) / count
  made: list[mpl_axes.Axes] = []
  for number, title in enumerate(titles):
    at = (left + number * (wide + between)) / style.WIDTH
    axes = figure.add_axes(
        (at, foot / height, wide / style.WIDTH, tall / height),
        sharey=made[0] if shared and made else None,
    )
    axes.set_title(title, loc="left")
    axes.grid(True, color="#e6e6e6", linewidth=0.5)
    if shared and made:
      axes.tick_params(labelleft=False, which="both")
    made.append(axes)
  canvas.caption(figure, lines)
  return Columns(figure, tuple(made), (_LIFT + caption) / height)


def logarithmic(axis: mpl_axis.Axis) -> None:
  """Makes an axis logarithmic, with numbers as words: 0.1, 1, 1e-05.

  Args:
    axis: whose data are drawn already.
  """
  along = axis is axis.axes.xaxis
  (axis.axes.set_xscale if along else axis.axes.set_yscale)("log")
  low, high = axis.get_data_interval()
  few = low > 0 and high < 30 * low  # not two powers of ten, maybe
  axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if few else (1,)))
  axis.set_minor_locator(ticker.NullLocator())
  axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
