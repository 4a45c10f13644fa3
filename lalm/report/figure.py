"""The scaling figure: time, memory and local slopes against the length.

One column for each pass. Above a column letters mark the points that have no
time; right of a panel stands the exponent of each law. The same records and
library versions give the same bytes.
"""

import math
from typing import Any, Mapping, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import ticker

from lalm.report import canvas, captions, compiled, laws, layout, margins
from lalm.report import panels
from lalm.report import scales, style
from lalm.report.results import Curve, Group

_LABELS = {
    "time": "time per call",
    "memory": "peak memory",
    "slope": "local slope of time",
}


def render(group: Group, environment: Mapping[str, Any]) -> dict[str, bytes]:
  """The figure of one group as the bytes of each format."""
  return canvas.render(lambda: draw(group, environment))


def draw(group: Group, environment: Mapping[str, Any]) -> mpl_figure.Figure:
  """The figure, not yet written; see `render`."""
  looks = style.looks(group.curves)
  failed = {pass_: captions.failed(group, pass_) for pass_ in group.passes()}
  strip = scales.ROW * max(map(len, failed.values()), default=0)
  words = canvas.wrapped(captions.text(group, environment))
  legend = _legend_shape(group.curves)
  foot = 0.10 + canvas.LINE * len(words) + 0.10 + 0.155 * legend[0] + 0.42
  placed, height = layout.arrange(group, looks, foot, strip)
  figure = canvas.blank(height)
  limits = layout.limits(group, looks, placed)
  for rank, panel in enumerate(placed):
    ax = _axes(figure, panel.left, panel.bottom, panel.frame, height)
    _panel(ax, group, panel, looks, limits.get(panel.quantity))
    above = strip if panel.quantity == "time" else 0.0
    _title(ax, panel, rank, above)
    _outer_labels(ax, panel, placed, compiled.tells(group))
    if panel.quantity == "time" and failed[panel.pass_]:
      bottom = panel.bottom + panel.frame.height + 0.04
      rows = scales.ROW * len(failed[panel.pass_])
      extent = panel.frame._replace(height=rows)
      ax = _axes(figure, panel.left, bottom, extent, height)
      margins.strip(ax, failed[panel.pass_], looks, panel.frame)
  _legend(figure, group.curves, looks, legend[1], height, len(words))
  canvas.caption(figure, words)
  return figure


def _panel(
    ax: mpl_axes.Axes,
    group: Group,
    panel: layout.Panel,
    looks: Mapping[Curve, style.Look],
    limits: tuple[float, float] | None,
) -> None:
  if limits is None:
    panels.empty(ax, panel.frame)
    ax.text(
        0.5,
        0.5,
        "no point was measured",
        ha="center",
        va="center",
        transform=ax.transAxes,
    )
    return
  if panel.quantity == "slope":
    panels.slopes(ax, group, panel.pass_, looks, panel.frame, limits)
    return
  shown = panels.traces(group, panel.pass_, panel.quantity, looks)
  crossed = layout.crossed(group, panel.pass_, panel.quantity)
  panels.log_log(ax, shown, crossed, panel.frame, limits)
  ticks, write = scales.value_ticks(limits, panel.quantity)
  ax.yaxis.set_major_locator(ticker.FixedLocator(ticks))
  ax.yaxis.set_major_formatter(ticker.FixedFormatter([*map(write, ticks)]))
  ax.yaxis.set_minor_locator(ticker.NullLocator())


def _axes(
    figure: mpl_figure.Figure,
    left: float,
    bottom: float,
    frame: scales.Frame,
    height: float,
) -> mpl_axes.Axes:
  """Axes at a place given in inches."""
  return figure.add_axes(
      (
          left / style.WIDTH,
          bottom / height,
          frame.width / style.WIDTH,
          frame.height / height,
      )
  )


def _title(
    ax: mpl_axes.Axes, panel: layout.Panel, rank: int, above: float
) -> None:
  """The panel's letter; the name of the pass at the head of its column."""
  lift = 72 * (0.07 + above + (0.04 if above else 0.0))
  where: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
  ax.annotate(
      chr(ord("a") + rank),
      (0, 1),
      (0, lift),
      fontsize=8.5,
      fontweight="bold",
      **where,
  )
  if panel.quantity == "time":
    ax.annotate(
        laws.pass_name(panel.pass_).replace("+", " + "),
        (0, 1),
        (11, lift),
        fontsize=8.5,
        **where,
    )


def _outer_labels(
    ax: mpl_axes.Axes,
    panel: layout.Panel,
    placed: Sequence[layout.Panel],
    compiled: bool,
) -> None:
  """Labels at the left of a row and at the foot of a column only."""
  same_row = [p for p in placed if p.quantity == panel.quantity]
  if panel is same_row[0]:
    label = _LABELS[panel.quantity]
    ax.set_ylabel(label.replace("time", "roofline") if compiled else label)
    ax.yaxis.set_label_coords(-0.52 / panel.frame.width, 0.5)
  else:
    ax.tick_params(labelleft=False)
  column = [p for p in placed if p.left == panel.left]
  if panel is column[-1]:
    ax.set_xlabel("sequence length n (tokens)")
  else:
    ax.tick_params(labelbottom=False)


def _legend_shape(curves: Sequence[Curve]) -> tuple[int, int]:
  """Rows and columns of the legend."""
  widest = max(len(curve.name) for curve in curves)
  columns = max(1, int((style.WIDTH - 0.2) / (0.06 * widest + 0.55)))
  columns = min(columns, len(curves))
  return math.ceil(len(curves) / columns), columns


def _legend(
    figure: mpl_figure.Figure,
    curves: Sequence[Curve],
    looks: Mapping[Curve, style.Look],
    columns: int,
    height: float,
    lines: int,
) -> None:
  handles = [
      mpl_lines.Line2D(
          [],
          [],
          color=looks[c].colour,
          marker=looks[c].marker,
          linestyle=looks[c].line,
          label=c.name,
          markeredgecolor="white",
          markeredgewidth=0.4,
      )
      for c in curves
  ]
  bottom = (0.10 + canvas.LINE * lines + 0.06) / height
  figure.legend(
      handles=handles,
      ncols=columns,
      loc="lower center",
      bbox_to_anchor=(0.5, bottom),
      frameon=False,
      fontsize=7,
      handlelength=2.6,
      columnspacing=1.6,
      labelspacing=0.35,
      borderpad=0,
      borderaxespad=0,
  )
