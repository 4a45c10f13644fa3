"""The figure of heads: copying, likeness and composition, by layer."""

from collections.abc import Sequence

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import ticker

from lalm.report import anatomy
from lalm.report import canvas
from lalm.report import head_circuits
from lalm.report import columns
from lalm.report import style

_SPREAD = 0.25  # of a layer, that its heads are put beside each other
_KINDS = {"q": "queries", "k": "keys", "v": "values"}


def render(setting: anatomy.Setting, where: str) -> dict[str, bytes]:
  """Returns the figure of one setting as the bytes of each format.

  Args:
    setting: with a record.
    where: it was looked at.
  """
  return canvas.render(lambda: draw(setting, where))


def draw(setting: anatomy.Setting, where: str) -> mpl_figure.Figure:
  """The figure, not yet written; see `render`."""
  made = columns.make(
      ("which copy", "which attend to their like", "which compose"),
      f"{setting.heading}; {where}. A point is a head. Copying: sum of the"
      " eigenvalues of OV over the sum of their sizes, from tokens to tokens."
      " Likeness: the same of the symmetric part of QK. Composition: the mean"
      " over all earlier heads; grey: of unrelated ones.",
      legend=False,
  )
  copying, like, composing = made.axes
  found = head_circuits.numbers(setting)
  _points(copying, found["copying_tokens"])
  copying.set_ylabel("copying")
  _points(like, found["like"])
  like.set_ylabel("likeness")
  _composition(composing, setting)
  for axes in (copying, like, composing):
    axes.set_xlabel("layer")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
  return made.figure


def _points(
    axes: mpl_axes.Axes, layers: Sequence[Sequence[float | None]]
) -> None:
  axes.axhline(0, color=style.GUIDE, linewidth=0.8)
  for layer, heads in enumerate(layers):
    for head, value in enumerate(heads):
      if value is not None:
        beside = _SPREAD * (2 * (head + 0.5) / len(heads) - 1)
        colour = style.COLOURS[0] if value >= 0 else style.COLOURS[1]
        axes.plot(layer + beside, value, "o", color=colour, markersize=3)
  axes.set_ylim(-1.05, 1.05)


def _composition(axes: mpl_axes.Axes, setting: anatomy.Setting) -> None:
  axes.set_ylabel("score")
  scores: dict[tuple[str, int], list[float]] = {}
  for pair in head_circuits.pairs(setting):
    layer = int(pair.later.split(".")[0])
    scores.setdefault((pair.kind, layer), []).append(pair.score)
  for i, (kind, words) in enumerate(_KINDS.items()):
    each = [(x, anatomy.mean(y)) for (k, x), y in scores.items() if k == kind]
    if each:
      axes.plot(
          *zip(*sorted(each)), marker=style.MARKERS[i],
          color=style.COLOURS[i], markersize=3, label=words,
      )  # fmt: skip
  unrelated = {r["circuits"]["unrelated"] for r in setting.records}
  for score in unrelated if scores else ():
    axes.axhline(score, color=style.GUIDE, linewidth=0.8)
  if scores:
    axes.legend(frameon=False, fontsize=6)
