"""Matrices as pictures, the first row of the figure of blocks."""

from typing import Any, Callable, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import colors as mpl_colors
import numpy as np

from lalm.report import blocks
from lalm.report import style

# One of each kind where it was computed, from all keys to what is replaced.
_SHOWN = ("softmax", "window", "loglinear", "linear", "mamba2", "deltanet")
_DECADES = 6  # of the scale
_SIDE, _GAP, _TOP = 0.98, 0.13, 0.5  # inches
HEIGHT = _TOP + _SIDE + 0.25
_INK = ["#f1f1f1", "#9ecae1", "#3182bd", "#08306b"]  # from small to large
_OUTLINE = "#D55E00"
# Beyond this ratio to the rank at n/2, the block of largest rank is outlined.
_LARGER = 1.1


def title(ax: mpl_axes.Axes, letter: str, text: str, lift: float = 7.0) -> None:
  """A panel's letter and title, `lift` points above it."""
  where: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
  bold: Any = {"fontweight": "bold", **where}
  ax.annotate(letter, (0, 1), (0, lift), fontsize=8.5, **bold)
  ax.annotate(text, (0, 1), (11, lift), fontsize=8.5, **where)


def row(
    axes: Callable[[float, float, Any], mpl_axes.Axes],
    drawn: Sequence[blocks.Curve],
) -> None:
  """Draws matrices side by side, on one scale of shares of their largest entry.

  Args:
    axes: makes axes of inches from the left, from above, and of a size.
    drawn: the mechanisms there are.
  """
  known = {c.mechanism: c for c in drawn if "picture" in c.last}
  shown = [known[name] for name in _SHOWN if name in known]
  shown = shown or list(known.values())[: len(_SHOWN)]
  for rank, curve in enumerate(shown):
    ax = axes(0.08 + rank * (_SIDE + _GAP), _TOP, (_SIDE, _SIDE))
    image = _picture(ax, curve)
    if not rank:
      title(ax, "a", "|A|, and what later tokens read of earlier ones", 19)
  if shown:
    left = 0.08 + len(shown) * (_SIDE + _GAP) - 0.03
    bar = axes(left, _TOP, (0.06, _SIDE))
    bar.figure.colorbar(image, cax=bar, ticks=[-6, -4, -2, 0])
    bar.set_yticklabels(["1e-6", "1e-4", "1e-2", "1"])
    bar.tick_params(labelsize=5.5, pad=1.5, length=2)


def _picture(ax: mpl_axes.Axes, curve: blocks.Curve) -> Any:
  """One matrix with its block and the block's rank."""
  cells = np.array(curve.last["picture"], dtype=float)  # None becomes NaN
  cells -= np.nanmax(cells)
  shades = mpl_colors.LinearSegmentedColormap.from_list("ink", _INK)
  image = ax.imshow(
      cells,
      cmap=shades.with_extremes(bad="white"),
      vmin=-_DECADES,
      vmax=0,
      extent=(0, 1, 1, 0),
      interpolation="nearest",
      aspect="auto",
  )
  length = max(curve.records)
  cut, rank = outlined(curve)
  i = cut / length
  ax.plot([0, i, i, 0, 0], [i, i, 1, 1, i], color=_OUTLINE)
  ax.set_xticks([])
  ax.set_yticks([])
  for side in ax.spines.values():
    side.set_visible(True)
    side.set_color("#bbbbbb")
  ax.set_xlim(-0.01, 1.01)
  ax.set_ylim(1.01, -0.01)
  colour = style.FAMILIES[curve.family]
  ax.set_title(curve.name, color=colour, fontsize=8, pad=3)
  ax.set_xlabel(f"rank {rank} of {min(cut, length - cut)}", labelpad=3)
  return image


def outlined(curve: blocks.Curve) -> tuple[int, int]:
  """The cut and rank of the block at n/2, or of one of larger rank."""
  found = curve.last
  ranks = dict(zip(found["cuts"], found["heads"][0]["ranks"]))
  half = max(curve.records) // 2
  most = max(ranks, key=lambda cut: ranks[cut])
  cut = most if ranks[most] > _LARGER * ranks[half] else half
  return cut, ranks[cut]
