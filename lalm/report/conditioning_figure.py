"""The figure of rounding: errors measured, against foreseen and condition."""

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure

from lalm.report import anatomy
from lalm.report import canvas
from lalm.report import conditioning
from lalm.report import style

_LEFT, _RIGHT, _BETWEEN = 0.62, 0.14, 0.40  # inches beside the panels
_TOP, _TALL, _FOOT = 0.30, 2.6, 0.74  # inches above them, of them, below
_ROLES = ("q", "k", "v", "o", "mlp_in", "mlp_gate", "mlp_out")
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
  words = canvas.wrapped(
      f"{setting.heading}; {where}. A point is a matrix; filled: bfloat16,"
      " open: float16. The line is where both are equal."
  )
  foot = _FOOT + canvas.LINE * len(words)
  height = foot + _TALL + _TOP
  figure = canvas.blank(height)
  wide = (style.WIDTH - _LEFT - _RIGHT - _BETWEEN) / 2
  first, second = (
      figure.add_axes(
          (
              (_LEFT + i * (wide + _BETWEEN)) / style.WIDTH,
              foot / height,
              wide / style.WIDTH,
              _TALL / height,
          )
      )
      for i in range(2)
  )
  found = conditioning.rows(setting)
  _scatter(first, found, None)
  _scatter(second, found, "condition")
  ends = first.get_xlim()
  first.plot(ends, ends, color=style.GUIDE, linewidth=0.8, zorder=0)
  first.set_title("foreseen from rounding", loc="left")
  first.set_xlabel("error of W x, foreseen")
  first.set_ylabel("error of W x, measured")
  second.set_title("and by the condition alone", loc="left")
  second.set_xlabel("condition of W")
  handles, labels = first.get_legend_handles_labels()
  figure.legend(
      handles,
      labels,
      ncols=len(labels) or 1,
      loc="lower center",
      bbox_to_anchor=(0.5, (0.14 + canvas.LINE * len(words)) / height),
      frameon=False,
      fontsize=7,
  )
  canvas.caption(figure, words)
  return figure


def _scatter(
    axes: mpl_axes.Axes, found: list[conditioning.Row], along: str | None
) -> None:
  """Errors measured in both dtypes, along a number or what was foreseen."""
  for role in _ROLES:
    own = [row.numbers for row in found if row.role == role]
    place = _ROLES.index(role)
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
  axes.set_xscale("log")
  axes.set_yscale("log")
  axes.grid(True, color="#e6e6e6", linewidth=0.5)
