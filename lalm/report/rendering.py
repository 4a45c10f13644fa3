"""From a figure to its files: the same figure gives the same bytes."""

import contextlib
import io
from typing import Any, Iterator

import matplotlib
from matplotlib import figure as mpl_figure

from lalm.report import style

FORMATS = ("svg", "pdf", "png")
_METADATA: dict[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


@contextlib.contextmanager
def settings() -> Iterator[None]:
  """matplotlib's own defaults and ours, none of the user's."""
  own: Any = dict(matplotlib.rcParamsDefault) | style.SETTINGS
  own.pop("backend", None)  # the canvas is chosen here, not by the process
  with matplotlib.rc_context(own):
    yield


def written(drawn: mpl_figure.Figure) -> dict[str, bytes]:
  """The bytes of a figure in each of `FORMATS`; called within `settings`."""
  found = {}
  for name in FORMATS:
    stream = io.BytesIO()
    drawn.savefig(stream, format=name, metadata=_METADATA[name])
    found[name] = stream.getvalue()
  return found
