"""From a drawing to files: one look, the same bytes for the same records."""

import contextlib
import io
import re
import textwrap
from typing import Any, Callable, Iterator, Sequence

import matplotlib
from matplotlib import figure as mpl_figure
from matplotlib.backends import backend_agg

from lalm.report import style

LINE = 0.125  # inches of a line of the caption
_POINTS = 6.5  # size of its letters
_EDGE = 0.08  # inches from it to the figure's edges
_CHARACTER = 0.0495  # inches of a character of the caption, on average
FORMATS = ("svg", "pdf", "png")
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


def blank(height: float) -> mpl_figure.Figure:
  """Returns an empty figure, two columns of a paper wide.

  Args:
    height: inches.
  """
  made = mpl_figure.Figure(figsize=(style.WIDTH, height), facecolor="white")
  backend_agg.FigureCanvasAgg(made)
  return made


def render(draw: Callable[[], mpl_figure.Figure]) -> dict[str, bytes]:
  """Returns what `draw` draws, as the bytes of each of `FORMATS`."""
  found = {}
  with settings():
    drawn = draw()
    for name in FORMATS:
      stream = io.BytesIO()
      drawn.savefig(stream, format=name, metadata=_METADATA[name])
      found[name] = stream.getvalue()
  return found


@contextlib.contextmanager
def settings() -> Iterator[None]:
  """matplotlib's own defaults and ours, none of the user's."""
  own: Any = dict(matplotlib.rcParamsDefault) | style.SETTINGS
  own.pop("backend", None)  # the canvas is chosen here, not by the process
  with matplotlib.rc_context(own):
    yield


def wrapped(words: str) -> list[str]:
  """Lines of the caption; `B = 1`, `95 %` and `M out` stay together."""
  kept = re.sub(
      r" (=|%|±) ?|(?<=\b[A-Z]) ", lambda m: m[0].replace(" ", "\u00a0"), words
  )
  return textwrap.wrap(kept, int((style.WIDTH - 2 * _EDGE) / _CHARACTER))


def caption(figure: mpl_figure.Figure, words: Sequence[str]) -> None:
  """Writes the lines of the caption at the foot of a figure.

  Args:
    figure: to write on.
    words: a line each, as `wrapped` makes them.
  """
  figure.text(
      _EDGE / figure.get_figwidth(),
      _EDGE / figure.get_figheight(),
      "\n".join(words),
      fontsize=_POINTS,
      va="bottom",
      linespacing=LINE * 72 / _POINTS / 1.165,
  )
