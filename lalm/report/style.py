"""How the figure looks, whatever the user's own settings of matplotlib are.

Colours are those of Okabe and Ito (2008), told apart with any colour vision;
with the marker and the line they give each curve a look of its own.
"""

from typing import Any, NamedTuple, Sequence

from lalm.report.results import Curve

INK = "#222222"
GUIDE = "#8a8a8a"
WIDTH = 7.2  # inches: two columns of a paper

COLOURS = (
    "#0072B2",  # blue
    "#D55E00",  # vermillion
    "#009E73",  # bluish green
    "#CC79A7",  # reddish purple
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#000000",  # black
)
# Of families of mechanisms, by what they keep (`blocks.FAMILIES`).
FAMILIES = {
    "all keys": "#000000",
    "window": "#E69F00",
    "hierarchy": "#D55E00",
    "few keys": "#009E73",
    "delta rule": "#CC79A7",
    "decay": "#56B4E9",
    "features": "#0072B2",
    "other": GUIDE,
}
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
_LINES = ("-", (0, (5, 1.5)), (0, (5, 1.5, 1, 1.5)))

# What is not named here is matplotlib's own default, never the user's file.
SETTINGS: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 7.5,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "axes.titlesize": 8.5,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.6,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "lalm",
    "pdf.fonttype": 42,
    "path.simplify": False,
}


class Look(NamedTuple):
  """Colour, marker and line of one curve."""

  colour: str
  marker: str
  line: Any


def looks(curves: Sequence[Curve]) -> dict[Curve, Look]:
  """A look for each curve; no two alike among the first 77."""
  return {
      curve: Look(
          COLOURS[i % len(COLOURS)],
          MARKERS[i % len(MARKERS)],
          _LINES[i // len(COLOURS) % len(_LINES)],
      )
      for i, curve in enumerate(curves)
  }
