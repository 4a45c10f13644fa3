"""The figure of split sequences: a column a form, a line a device count."""

from collections.abc import Sequence
from typing import Any

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines

from lalm import units
from lalm.report import canvas
from lalm.report import sharded
from lalm.report import style
from lalm.report.sharded import Line

_LEFT, _RIGHT, _BETWEEN = 0.95, 0.16, 0.24  # inches beside the panels
_TOP, _ROW, _GAP, _FOOT = 0.40, 1.05, 0.12, 0.80  # inches, from the top down
_PASS = "forward"
_QUANTITIES = (
    ("memory of a device", sharded.device_bytes),
    ("communication", sharded.communication),
)


def render(heading: str, lines: Sequence[Line]) -> dict[str, bytes]:
  """Returns the figure of one setting as the bytes of each format."""
  return canvas.render(lambda: draw(heading, lines))


def draw(heading: str, lines: Sequence[Line]) -> mpl_figure.Figure:
  """The figure of the forward pass, not yet written; see `render`."""
  own = [line for line in lines if line.pass_ == _PASS and line.points]
  names = list(dict.fromkeys(line.name for line in own))
  kinds = list(dict.fromkeys(line.kind for line in own))
  rows = [(kind, *quantity) for kind in kinds for quantity in _QUANTITIES]
  words = canvas.wrapped(_caption(heading))
  foot = _FOOT + canvas.LINE * len(words)
  height = foot + len(rows) * (_ROW + _GAP) + _TOP
  figure = canvas.blank(height)
  width = style.WIDTH - _LEFT - _RIGHT - _BETWEEN * (len(names) - 1)
  width /= max(len(names), 1)
  columns: dict[str, mpl_axes.Axes] = {}
  for i, (kind, label, quantity) in enumerate(rows):
    shared: mpl_axes.Axes | None = None
    bottom = foot + (len(rows) - 1 - i) * (_ROW + _GAP)
    for j, name in enumerate(names):
      place = (_LEFT + j * (width + _BETWEEN), bottom, width, _ROW)
      scale = (style.WIDTH, height, style.WIDTH, height)
      axes = figure.add_axes(
          tuple(x / y for x, y in zip(place, scale)),  # type: ignore[arg-type]
          sharex=columns.get(name),
          sharey=shared,
      )
      shared = shared or axes
      columns.setdefault(name, axes)
      found = [x for x in own if (x.kind, x.name) == (kind, name)]
      _panel(axes, found, quantity, _counts(own))
      if i == 0:
        axes.set_title(name.replace(".", "\n"), loc="left")
      if j == 0:
        axes.set_ylabel(f"{kind}\n{label}")
      axes.tick_params(labelleft=j == 0, labelbottom=i == len(rows) - 1)
      if i == len(rows) - 1:
        axes.set_xlabel("tokens n")
  _legend(figure, _counts(own), (0.14 + canvas.LINE * len(words)) / height)
  canvas.caption(figure, words)
  return figure


def _counts(lines: Sequence[Line]) -> list[int]:
  return sorted({count for line in lines for _, count in line.points})


def _panel(
    axes: mpl_axes.Axes,
    lines: Sequence[Line],
    quantity: Any,
    counts: Sequence[int],
) -> None:
  axes.set_xscale("log", base=2)
  axes.set_yscale("log", base=2)
  axes.grid(True, color="#e6e6e6", linewidth=0.5)
  axes.yaxis.set_major_formatter(lambda value, _: units.size(value))
  axes.xaxis.set_major_formatter(lambda value, _: _tokens(value))
  drawn = False
  for line in lines:
    for count in sorted({p for _, p in line.points}):
      known = [
          (n, value)
          for (n, p), record in sorted(line.points.items())
          if p == count and (value := quantity(record)) == value
      ]
      if known:
        mark = _mark(counts, count)
        axes.plot(
            *zip(*known), color=mark.get_color(), marker=mark.get_marker()
        )
        drawn = True
  if lines and not drawn:
    axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center")


def _tokens(value: float) -> str:
  return f"{value / 2**20:g}M" if value >= 2**20 else f"{value / 2**10:g}K"


def _mark(counts: Sequence[int], count: int) -> mpl_lines.Line2D:
  rank = list(counts).index(count)
  return mpl_lines.Line2D(
      [],
      [],
      color=style.COLOURS[rank % len(style.COLOURS)],
      marker=style.MARKERS[rank % len(style.MARKERS)],
      label=f"P = {count}",
  )


def _legend(
    figure: mpl_figure.Figure, counts: Sequence[int], bottom: float
) -> None:
  figure.legend(
      handles=[_mark(counts, count) for count in counts],
      ncols=len(counts),
      loc="lower center",
      bbox_to_anchor=(0.5, bottom),
      frameon=False,
  )


def _caption(heading: str) -> str:
  return (
      f"{heading[0].upper()}{heading[1:]}. Forward pass. Memory is all that is"
      " live at once, inputs included; communication is what a device gets from"
      " others. K and M are powers of 1,024."
  )
