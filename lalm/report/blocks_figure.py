"""The figure of blocks: what each mechanism's matrix is, and of which rank.

Above, six matrices as pictures with a block outlined; below, for all
mechanisms, ranks against the length, and the singular values of a block. A
colour is a family. The same records and library versions give the same bytes.
"""

import math
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import ticker
from matplotlib import transforms
import numpy as np

from lalm import units
from lalm.report import blocks
from lalm.report import blocks_pictures
from lalm.report import canvas
from lalm.report import margins
from lalm.report import medians
from lalm.report import style

Record = Mapping[str, Any]
Curves = Sequence[blocks.Curve]
_FRAME = (2.2, 1.8)  # inches of a panel
_LEFT, _SECOND = 0.42, 3.98  # inches left of the panels
_STEP = 0.72  # inches between two rows of panels
_PANELS = blocks_pictures.HEIGHT + 0.42  # above the first row
_ROW, _FOOT = 0.125, 0.46  # of the list of families, and above it
_LABEL = 0.1  # between two labels of a margin
_NEAR = 1.35  # ranks of a family within this ratio share a label
_LINE = 0.9 / 72  # inches
# Lines by which families are drawn above or below what they share.
_LANES = {"window": 1, "delta rule": 1, "features": -1}
_WIDE, _LONG = 20, 40  # characters of a label there is room for
_FLOOR = 1e-17  # below any singular value above rounding
_BOUND: Any = (0, (1, 1.5))


class _Page(NamedTuple):
  """A figure and its height, from whose upper edge axes are placed."""

  figure: mpl_figure.Figure
  height: float

  def axes(self, left: float, top: float, size: Any) -> mpl_axes.Axes:
    """Axes at a place and of a size, in inches."""
    width, height = size
    return self.figure.add_axes(
        (
            left / style.WIDTH,
            1 - (top + height) / self.height,
            width / style.WIDTH,
            height / self.height,
        )
    )

  def text(self, left: float, bottom: float, text: str, **look: Any) -> None:
    """Text at a place in inches from the lower left corner."""
    self.figure.text(left / style.WIDTH, bottom / self.height, text, **look)


def render(
    records: Iterable[Record], environment: Mapping[str, Any]
) -> dict[str, bytes]:
  """The figure of the newest setting in each format; none without a number.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  for own in blocks.settings(records)[:1]:
    if any(curve.records for curve in blocks.curves(own)):
      return canvas.render(lambda: draw(own, environment))
  return {}


def draw(
    records: Sequence[Record], environment: Mapping[str, Any]
) -> mpl_figure.Figure:
  """The figure of one setting, not yet written; see `render`."""
  found = [curve for curve in blocks.curves(records) if curve.records]
  causal = {curve.mechanism for curve in found if curve.causal}
  # Of what can be both, the causal curve stands for the full one.
  drawn = [c for c in found if c.causal or c.mechanism not in causal]
  words = canvas.wrapped(_caption(records, environment))
  families = _families(drawn)
  foot = 0.16 + canvas.LINE * len(words) + _ROW * math.ceil(len(families) / 2)
  height = _PANELS + 2 * _FRAME[1] + _STEP + _FOOT + foot
  made = canvas.blank(height)
  page = _Page(made, height)
  blocks_pictures.row(page.axes, drawn)
  below = _PANELS + _FRAME[1] + _STEP
  b, c, d, e = (
      page.axes(left, top, _FRAME)
      for top in (_PANELS, below)
      for left in (_LEFT, _SECOND)
  )
  _against_length(b, drawn, blocks.largest, "b", "largest rank of a block")
  for curve in drawn:
    _bound(b, curve)
  _values(c, drawn)
  _against_length(d, drawn, blocks.practical, "d", "the same, above 1e-3")
  _against_length(e, drawn, blocks.effective, "e", "effective rank at n/2")
  _list(page, families, foot)
  spacing = canvas.LINE * 72 / 6.5 / 1.165
  look: Any = {"fontsize": 6.5, "va": "bottom", "linespacing": spacing}
  page.text(0.08, 0.08, "\n".join(words), **look)
  return made


def _caption(records: Sequence[Record], environment: Mapping[str, Any]) -> str:
  setting = blocks.setting(records, environment)
  return (
      f"{setting}. The block below i is what tokens from i on read of those"
      " before, A[i:, :i]. a: largest |A| of each cell over that of all, first"
      " head; outlined is the block at n/2, or one of larger rank. b: above"
      " rounding, over cuts from n/4 to 3n/4; finely dotted: bounds. c: over"
      f" the largest. b, d, e: medians over {medians.workers(records)}, each of"
      " a text of its own, of the middle head or the higher of two;"
      " families a line apart, for many ranks are equal. Dashed: not causal."
  )


def _families(drawn: Curves) -> list[tuple[str, list[str]]]:
  """Each family with the names of its members."""
  found: dict[str, list[str]] = {}
  for curve in drawn:
    found.setdefault(curve.family, []).append(_name(curve))
  return [(name, found[name]) for name in blocks.FAMILIES if name in found]


def _name(curve: blocks.Curve) -> str:
  return curve.name.partition(",")[0]


def _list(
    page: _Page, families: Sequence[tuple[str, list[str]]], foot: float
) -> None:
  """The families in their colours, in two columns."""
  rows = math.ceil(len(families) / 2)
  for rank, (family, names) in enumerate(families):
    column, row = divmod(rank, rows)
    left, bottom = 0.08 + 2.75 * column, foot - _ROW * (row + 1) + 0.02
    look: Any = {"color": style.FAMILIES[family], "fontsize": 6.5}
    page.text(left, bottom, family, fontweight="bold", **look)
    page.text(left + 0.62, bottom, " ".join(names), **look)


def _look(curve: blocks.Curve) -> dict[str, Any]:
  """Colour, line and order of a curve."""
  return {
      "color": style.FAMILIES[curve.family],
      "linewidth": 0.9,
      "linestyle": "-" if curve.causal else (0, (4, 1.5)),
      "zorder": 3 + blocks.FAMILIES.index(curve.family) / 10,
  }


def _aside(ax: mpl_axes.Axes, curve: blocks.Curve) -> dict[str, Any]:
  """Moves a curve by its family's lines, for many have the same ranks."""
  inches = _LINE * _LANES.get(curve.family, 0)
  moved = transforms.ScaledTranslation(0, inches, ax.figure.dpi_scale_trans)
  return {"transform": ax.transData + moved}


def _against_length(
    ax: mpl_axes.Axes,
    drawn: Curves,
    value: Callable[[Mapping[str, Any]], float],
    letter: str,
    title: str,
) -> None:
  """Medians of a rank against the length, and half the length."""
  blocks_pictures.title(ax, letter, title)
  lengths = sorted({n for curve in drawn for n in curve.lengths})
  _log_lengths(ax, lengths)
  ends = []
  dots: Any = {"marker": "o", "markersize": 2.4, "markeredgewidth": 0}
  for curve in drawn:
    ranks = curve.middles(value)
    ax.plot(curve.lengths, ranks, **dots, **_look(curve), **_aside(ax, curve))
    ends.append((ranks[-1], curve))
  halves = [n / 2 for n in lengths]
  ax.plot(lengths, halves, color=style.GUIDE, linewidth=0.8, linestyle=":")
  where: Any = {"textcoords": "offset points", "ha": "right", "va": "bottom"}
  middle = len(lengths) // 2
  place = (lengths[middle], halves[middle])
  ax.annotate("n/2", place, (-3, 1), color=style.GUIDE, fontsize=6.5, **where)
  _limits(ax, drawn, value, halves)
  _margin(ax, ends)


def _limits(
    ax: mpl_axes.Axes,
    drawn: Curves,
    value: Callable[[Mapping[str, Any]], float],
    halves: Sequence[float],
) -> None:
  """Around all ranks: what is moved does not count for matplotlib's own."""
  found = [rank for curve in drawn for rank in curve.middles(value) if rank > 0]
  ax.set_ylim(min([*found, *halves]) / 1.2, max([*found, *halves]) * 1.2)


def _bound(ax: mpl_axes.Axes, curve: blocks.Curve) -> None:
  """What theory allows, as far as the block at n/2 is so large."""
  bounds = {n: curve.bound(n) for n in curve.lengths}
  shown = [(n, min(bound, n // 2)) for n, bound in bounds.items() if bound]
  if shown:
    look = {**_look(curve), "linestyle": _BOUND, "zorder": 2}
    ax.plot(*zip(*shown), **look, **_aside(ax, curve))


def _log_lengths(ax: mpl_axes.Axes, lengths: Sequence[int]) -> None:
  ax.set_xscale("log", base=2)
  ax.set_yscale("log", base=2)
  written = [units.count(n) for n in lengths]
  ax.xaxis.set_major_locator(ticker.FixedLocator(list(lengths)))
  ax.xaxis.set_major_formatter(ticker.FixedFormatter(written))
  ax.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
  for axis in (ax.xaxis, ax.yaxis):
    axis.set_minor_locator(ticker.NullLocator())
  ax.set_xlabel("sequence length n (tokens)")


def _named(
    ends: Sequence[tuple[float, blocks.Curve]],
) -> list[tuple[float, str, str]]:
  """A label for what of each family ends at one place: where, text, colour."""
  labels = []
  for family in blocks.FAMILIES:
    own = [pair for pair in ends if pair[1].family == family]
    groups: list[list[tuple[float, str]]] = []
    for end, name in sorted((end, _name(curve)) for end, curve in own):
      if groups and end <= _NEAR * groups[-1][-1][0]:
        groups[-1].append((end, name))
      else:
        groups.append([(end, name)])
    for found in groups:
      text = ", ".join(name for _, name in found)
      text = family if len(found) > 2 or len(text) > _WIDE else text
      middle = found[len(found) // 2][0]
      labels.append((middle, text, style.FAMILIES[family]))
  return sorted(labels)


def _margin(
    ax: mpl_axes.Axes, ends: Sequence[tuple[float, blocks.Curve]]
) -> None:
  """Labels right of a panel, level with the ends of curves."""
  labels = _named(ends)
  low, high = (math.log(limit) for limit in ax.get_ylim())
  share = lambda end: (math.log(end) - low) / (high - low) if end > 0 else 0.0
  wanted = [_FRAME[1] * share(end) for end, _, _ in labels]
  places = margins.spread_out(wanted, _LABEL, _FRAME[1])
  where: Any = {"xycoords": "axes fraction", "textcoords": "offset points"}
  for place, (_, text, colour) in zip(places, labels, strict=True):
    at = (1, place / _FRAME[1])
    ax.annotate(text, at, (3, 0), color=colour, fontsize=6.3, va="center",
                **where)  # fmt: skip


def _values(ax: mpl_axes.Axes, drawn: Curves) -> None:
  """Singular values of the block at n/2, those above rounding."""
  blocks_pictures.title(ax, "c", "singular values at n/2")
  ax.set_xscale("log", base=2)
  ax.set_yscale("log")
  ax.set_ylim(_FLOOR, 3)
  ends = []
  for curve in drawn:
    values = np.array(curve.last["heads"][0]["values"])
    if values.size:
      index = np.arange(1, len(values) + 1)
      ax.plot(
          [*index, index[-1]], [*values / values[0], _FLOOR], **_look(curve)
      )
      ends.append((float(index[-1]), curve))
  ticks = {10.0**-k: f"1e-{k}" if k else "1" for k in range(0, 17, 4)}
  ax.yaxis.set_major_locator(ticker.FixedLocator(list(ticks)))
  ax.yaxis.set_major_formatter(ticker.FixedFormatter(list(ticks.values())))
  ax.yaxis.set_minor_locator(ticker.NullLocator())
  ax.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
  ax.set_xlabel("index of the singular value")
  _feet(ax, ends)


def _feet(
    ax: mpl_axes.Axes, ends: Sequence[tuple[float, blocks.Curve]]
) -> None:
  """What ends at an index, upright beside it."""
  groups: list[list[tuple[float, str, str]]] = []
  for label in _named(ends):
    if groups and label[0] <= 1.2 * groups[-1][0][0]:
      groups[-1].append(label)
    else:
      groups.append([label])
  for found in groups:
    colours = {colour for _, _, colour in found}
    text = ", ".join(text for _, text, _ in found)
    if len(text) > _LONG:
      near = [end for end, _ in ends if found[0][0] <= end <= found[-1][0]]
      text = f"{len(near)} mechanisms"
    ax.annotate(
        text,
        (found[-1][0], _FLOOR),
        (2, 3),
        textcoords="offset points",
        color=colours.pop() if len(colours) == 1 else style.INK,
        fontsize=6,
        rotation=90,
        ha="left",
        va="bottom",
    )
