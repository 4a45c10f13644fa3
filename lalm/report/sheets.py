"""A figure of equal panels in rows and columns, a legend, and a caption.

Everything is placed in inches, so that what is beside a panel has its room.
"""

from typing import Any, NamedTuple, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines

from lalm.report import canvas
from lalm.report import style

_LEFT = 0.52  # inches left of the panels
_TOP, _BELOW = 0.26, 0.34  # inches above and below a panel
_PANEL = 1.62  # inches, its height
_ROW = 0.150  # inches of a row of the legend


class Sheet(NamedTuple):
  """A figure and its panels, `axes[row][column]`."""

  figure: mpl_figure.Figure
  axes: list[list[mpl_axes.Axes]]


def sheet(
    rows: int,
    columns: int,
    handles: Sequence[mpl_lines.Line2D],
    caption: str,
    legend_columns: int,
    between: float = 0.16,
    right: float = 0.10,
) -> Sheet:
  """Returns empty panels above a legend above a caption.

  Args:
    rows: of panels.
    columns: of panels.
    handles: of the legend, in the order in which they are read.
    caption: words.
    legend_columns: of the legend.
    between: inches between two panels of a row.
    right: inches right of the panels.
  """
  words = canvas.wrapped(caption)
  legend_rows = -(-len(handles) // legend_columns)
  foot = 0.10 + canvas.LINE * len(words) + 0.10 + _ROW * legend_rows + 0.08
  height = foot + rows * (_TOP + _PANEL + _BELOW)
  width = style.WIDTH - _LEFT - right - between * (columns - 1)
  width /= columns
  figure = canvas.blank(height)
  axes = []
  for row in range(rows):
    bottom = height - (row + 1) * (_TOP + _PANEL + _BELOW) + _BELOW
    lefts = [_LEFT + column * (width + between) for column in range(columns)]
    axes.append(
        [
            figure.add_axes(
                (
                    left / style.WIDTH,
                    bottom / height,
                    width / style.WIDTH,
                    _PANEL / height,
                )
            )
            for left in lefts
        ]
    )
  _foot(figure, handles, words, legend_columns, height)
  return Sheet(figure, axes)


def _foot(
    figure: mpl_figure.Figure,
    handles: Sequence[mpl_lines.Line2D],
    words: Sequence[str],
    columns: int,
    height: float,
) -> None:
  """The legend, read row by row, and the caption."""
  rows = -(-len(handles) // columns)
  blank = mpl_lines.Line2D([], [], linestyle="", label=" ")
  padded = [*handles, *[blank] * (rows * columns - len(handles))]
  # matplotlib fills columns first.
  ordered = [
      padded[row * columns + column]
      for column in range(columns)
      for row in range(rows)
  ]
  figure.legend(
      handles=ordered,
      ncols=columns,
      loc="lower center",
      bbox_to_anchor=(0.5, (0.16 + canvas.LINE * len(words)) / height),
      frameon=False,
      fontsize=7,
      handlelength=2.2,
      columnspacing=1.4,
      labelspacing=0.35,
      borderpad=0,
      borderaxespad=0,
  )
  canvas.caption(figure, words)


def handle(label: str, colour: str, **look: Any) -> mpl_lines.Line2D:
  """An entry of the legend.

  Args:
    label: its words.
    colour: of line and marker.
    **look: other properties of the line.
  """
  return mpl_lines.Line2D([], [], color=colour, label=label, **look)


def title(axes: mpl_axes.Axes, rank: int, words: str) -> None:
  """Writes `(a) words` above a panel, `rank` counting from 0."""
  axes.set_title(f"({chr(ord('a') + rank)}) {words}", loc="left", pad=5)
