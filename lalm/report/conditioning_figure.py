"""The figure of rounding: errors measured, against foreseen and condition."""

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure

from lalm import roles
from lalm.report import anatomy
from lalm.report import canvas
from lalm.report import conditioning
from lalm.report import columns
from lalm.report import style

_FILLED = {"bfloat16": "full", "float16": "none"}


def render(setting: anatomy.Setting, where: str) -> dict[str, bytes]:
  """Returns the figure of one setting as the bytes of each format.

  Args:
    setting: with a matrix at least.
    where: it was looked at.
  """
  return canvas.render(lambda: draw(setting, where))


def draw(setting: anatomy.Setting, where: str) -> mpl_figure.Figure:
  """The figure, not yet written; see `render`."""
  made = columns.make(
      ("foreseen from rounding", "and by the condition alone"),
      f"{setting.heading}; {where}. A point is a matrix; filled: bfloat16,"
      " open: float16. The line is where both are equal.",
  )
  first, second = made.axes
  found = conditioning.rows(setting)
  _scatter(first, found, None)
  _scatter(second, found, "condition")
  ends = first.get_xlim()
  first.plot(ends, ends, color=style.GUIDE, linewidth=0.8, zorder=0)
  first.set_xlabel("error of W x, foreseen")
  first.set_ylabel("error of W x, measured")
  second.set_xlabel("condition of W")
  made.legend()
  return made.figure


def _scatter(
    axes: mpl_axes.Axes, found: list[conditioning.Row], along: str | None
) -> None:
  """Errors measured in both dtypes, along a number or what was foreseen."""
  for role in roles.OF_LAYERS:
    own = [row.numbers for row in found if row.role == role]
    place = roles.OF_LAYERS.index(role)
    for dtype, filled in _FILLED.items():
      name = along or f"foreseen {dtype}"
      pairs = [(x[name], x[f"measured {dtype}"]) for x in own]
      known = [(a, b) for a, b in pairs if a and b]
      if known:
        axes.plot(
            *zip(*known),
            linestyle="",
            marker=style.MARKERS[place],
            color=style.COLOURS[place],
            fillstyle=filled,
            markersize=4,
            label=role if filled == "full" else None,
        )
  columns.logarithmic(axes.xaxis)
  columns.logarithmic(axes.yaxis)
