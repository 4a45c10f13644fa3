"""The figure of attention maps: what is captured, tokens that become equal."""

import statistics
from typing import Any

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import ticker

from lalm.report import anatomy
from lalm.report import attention_maps
from lalm.report import canvas
from lalm.report import columns
from lalm.report import style

_DASHES = ("-", (0, (5, 1.5)), (0, (2, 1.2)), (0, (5, 1.5, 1, 1.5)))


def render(setting: anatomy.Setting, where: str) -> dict[str, bytes]:
  """Returns the figure of one setting as the bytes of each format.

  Args:
    setting: with records of maps.
    where: they were looked at.
  """
  return canvas.render(lambda: draw(setting, where))


def draw(setting: anatomy.Setting, where: str) -> mpl_figure.Figure:
  """The figure, not yet written; see `render`."""
  length = attention_maps.lengths(setting)[-1]
  made = columns.make(
      ("rank of the maps", "tokens that become equal", "stand-ins for softmax"),
      f"{setting.heading}; {where}; n={length}. Captured: share of the singular"
      " values' sum in the first k of n. Residual: |X - 1 x^T| / |X| of the"
      " stream after a layer. Stand-ins: with their largest budget, means over"
      " heads; a dot is a head.",
      legend=False,
  )
  each = made.axes
  _captured(each[0], setting, length)
  _residuals(each[1], setting, length)
  _stand_ins(each[2], setting, length)
  for axes in each:
    if axes.get_legend_handles_labels()[1]:
      axes.legend(frameon=False, fontsize=6)
  return made.figure


def _captured(
    axes: mpl_axes.Axes, setting: anatomy.Setting, length: int
) -> None:
  axes.set_xlabel("k / n")
  axes.set_ylabel("captured")
  places, *_ = (
      r["curve_places"] for r in setting.of(mechanism="maps", length=length)
  )
  along = [place / length for place in places]
  curves = attention_maps.of_maps(setting, length, "curve")
  for layer, curve in enumerate(curves):
    shade = 0.85 - 0.7 * layer / max(1, len(curves) - 1)
    label = f"layer {layer}" if layer in (0, len(curves) - 1) else None
    axes.plot(along, curve, color=(shade, shade, 1 - shade / 3), label=label)
  axes.set_ylim(0, 1.02)


def _residuals(
    axes: mpl_axes.Axes, setting: anatomy.Setting, length: int
) -> None:
  axes.set_xlabel("layers passed")
  axes.set_ylabel("residual")
  found = attention_maps.residuals(setting, length)
  for i, (name, values) in enumerate(found.items()):
    look: dict[str, Any] = {"color": style.COLOURS[i], "linestyle": _DASHES[i]}
    axes.plot(range(len(values)), values, label=name, **look)
  axes.set_ylim(0, 1.05)
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))


def _stand_ins(
    axes: mpl_axes.Axes, setting: anatomy.Setting, length: int
) -> None:
  axes.set_xlabel("layer")
  axes.set_ylabel("error, relative")
  found = attention_maps.stand_ins(setting, length)
  names = list(dict.fromkeys(name for name, _ in found))
  for i, name in enumerate(names):
    budget = [b for n, b in found if n == name][-1]  # the largest
    errors = found[name, budget]
    label = name if budget == "fixed" else f"{name}, {budget}"
    middles = [statistics.fmean(layer) for layer in errors]
    colour = style.COLOURS[i % len(style.COLOURS)]
    axes.plot(range(len(errors)), middles, color=colour, label=label)
    for layer, heads in enumerate(errors):
      axes.plot(
          [layer] * len(heads), heads, ".",
          color=colour, markersize=2, alpha=0.5,
      )  # fmt: skip
  if found:
    columns.logarithmic(axes.yaxis)
    axes.set_ylim(bottom=axes.get_ylim()[0] / 5)  # for the legend
  axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
