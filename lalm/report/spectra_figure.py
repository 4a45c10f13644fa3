"""The figure of a model's matrices: spectra, exponents and ranks by layer."""

from collections.abc import Callable
import statistics
from typing import Any, Mapping, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import ticker

from lalm import roles
from lalm.report import anatomy
from lalm.report import canvas
from lalm.report import columns
from lalm.report import spectra
from lalm.report import style

_GOOD = (2, 6)  # exponents that WeightWatcher's authors call good
_COLOURS = dict(zip(roles.OF_LAYERS, style.COLOURS, strict=True))
_COLOURS |= {"embedding": "#999999", "other": "#8b6d3f"}
Matrix = Mapping[str, Any]


def render(setting: anatomy.Setting, where: str) -> dict[str, bytes]:
  """Returns the figure of one setting as the bytes of each format.

  Args:
    setting: with one matrix at least.
    where: it was looked at.
  """
  return canvas.render(lambda: draw(setting, where))


def draw(setting: anatomy.Setting, where: str) -> mpl_figure.Figure:
  """The figure, not yet written; see `render`."""
  made = columns.make(
      ("spectra", "power law", "stable rank"),
      f"{setting.heading}; {where}. Spectra: the median of a"
      " role's layers, its band all of them. Shaded: exponents from"
      f" {_GOOD[0]} to {_GOOD[1]}.",
      between=0.62,
  )
  curves, exponents, stable = made.axes
  every = spectra.matrices(setting)
  here = [r for r in roles.ALL if any(m["role"] == r for m in every)]
  for role in here:
    own = [m for m in every if m["role"] == role]
    look = {"color": _COLOURS[role], "label": role}
    _spectrum(curves, own, look)
    marker = {
        **look,
        "marker": style.MARKERS[roles.ALL.index(role) % len(style.MARKERS)],
    }
    _by_layer(exponents, own, lambda m: m.get("alpha"), marker)
    _by_layer(stable, own, lambda m: m["stable_rank"], marker)
  _finish(curves, exponents, stable)
  made.legend()
  return made.figure


def _spectrum(
    axes: mpl_axes.Axes, own: Sequence[Matrix], look: Mapping[str, Any]
) -> None:
  """Values over the largest, along the share of them that is not smaller."""
  each = [
      [x / m["values"][0] for x in m["values"]] for m in own if m["values"][0]
  ]
  if not each:
    return
  count = min(map(len, each))
  columns = list(zip(*(values[:count] for values in each)))
  along = [i / max(1, count - 1) for i in range(count)]
  axes.plot(along, [statistics.median(c) for c in columns], **look)
  axes.fill_between(
      along, [*map(min, columns)], [*map(max, columns)],
      color=look["color"], alpha=0.15, linewidth=0,
  )  # fmt: skip


def _by_layer(
    axes: mpl_axes.Axes,
    own: Sequence[Matrix],
    value: Callable[[Matrix], float | None],
    look: Mapping[str, Any],
) -> None:
  pairs = [(m["layer"], value(m)) for m in own if m["layer"] is not None]
  pairs = sorted(pair for pair in pairs if pair[1] is not None)
  if pairs:
    axes.plot(*zip(*pairs), markersize=3, **look)


def _finish(
    curves: mpl_axes.Axes, exponents: mpl_axes.Axes, stable: mpl_axes.Axes
) -> None:
  curves.set_xlabel("share of the singular values")
  curves.set_ylabel("singular value over the largest")
  columns.logarithmic(curves.yaxis)
  exponents.set_ylabel("alpha")
  exponents.axhspan(*_GOOD, color=style.GUIDE, alpha=0.12, linewidth=0)
  stable.set_ylabel("sum of squares over the largest")
  for axes in (exponents, stable):
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
