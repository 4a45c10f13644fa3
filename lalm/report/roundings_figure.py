"""The figure of rounding errors against the length.

A column is a dtype, a row a family: softmax and what bounds its keys, linear
attention, states that decay, states that forget what they replace. A colour is
a mechanism of its family, a marker a form.
"""

import functools
import math
from typing import Any, Iterable, Mapping, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import ticker

from lalm import units
from lalm.report import canvas, medians, roundings, sheets, style
from lalm.report.roundings import Record, Series

_FAMILIES = (
    "softmax and a choice of keys",
    "linear",
    "states that decay",
    "states that forget",
)
_MARKERS = {
    "parallel": "o",
    "recurrent": "^",
    "chunkwise": "s",
    "blockwise": "s",
    "step": "x",
}
_ALLOWED = (0, (3.5, 1.5))


def render(
    records: Iterable[Record], environment: Mapping[str, Any]
) -> dict[str, bytes]:
  """The figure of the newest setting in each format; none without a number.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  but = (*roundings.OWN, "causal")
  for own in medians.settings(records, roundings.EXPERIMENT, but):
    found = _shown(own)
    if found:
      return canvas.render(functools.partial(_draw, own, found, environment))
  return {}


def _shown(records: Sequence[Record]) -> list[Series]:
  """Series of causal forms, and full ones of who cannot be causal."""
  ways = {
      causal: roundings.series(
          r for r in records if r["point"]["causal"] == causal
      )
      for causal in (True, False)
  }
  causal = [one for one in ways[True] if one.records]
  names = {one.mechanism for one in causal}
  full = [s for s in ways[False] if s.records and s.mechanism not in names]
  return causal + full


def _family(one: Series) -> str:
  """Which row it stands in, by the structure of its transition."""
  *_, newest = one.records.values()
  transition = newest.get("transition", "")
  if "rank one" in transition:
    return _FAMILIES[3]
  if transition == "identity":
    return _FAMILIES[1]
  if transition.startswith(("scalar", "vector", "a scalar")):
    return _FAMILIES[2]
  return _FAMILIES[0]


def _draw(
    records: Sequence[Record],
    found: Sequence[Series],
    environment: Mapping[str, Any],
) -> Any:
  dtypes = sorted({s.dtype for s in found}, key=_roundoff)
  families = [f for f in _FAMILIES if any(_family(s) == f for s in found)]
  forms = sorted({s.form for s in found}, key=_rank)
  caption = _caption(records, found, environment)
  shape, handles = (len(families), len(dtypes)), _handles(forms)
  drawn = sheets.sheet(*shape, handles, caption, 5, between=0.5, right=0.95)
  for i, family in enumerate(families):
    members = [s for s in found if _family(s) == family]
    names = list(dict.fromkeys(s.mechanism for s in members))
    colours = dict(zip(names, _colours(len(names))))
    for j, dtype in enumerate(dtypes):
      axes, own = drawn.axes[i][j], [s for s in members if s.dtype == dtype]
      _panel(axes, own, colours)
      allowed = roundings.tolerances(s for s in found if s.dtype == dtype)
      _allowed(axes, allowed)
      _limits(axes, [s for s in found if s.dtype == dtype], allowed)
      rank = i * len(dtypes) + j
      sheets.title(axes, rank, f"{family}, {dtype}")
      axes.set_xlabel("sequence length n (tokens)")
      if j == 0:
        axes.set_ylabel("distance to float64")
    _names(drawn.axes[i][-1], colours)
  return drawn.figure


def _panel(
    axes: mpl_axes.Axes, found: Sequence[Series], colours: Mapping[str, str]
) -> None:
  for one in found:
    colour, marker = colours[one.mechanism], _MARKERS.get(one.form, "D")
    axes.plot(
        list(one.records),
        [roundings.relative(record) for record in one.records.values()],
        color=colour,
        marker=marker,
        linewidth=0.8,
        markeredgewidth=1.0 if marker == "x" else 0.4,
        markeredgecolor=colour if marker == "x" else "white",
    )


def _allowed(axes: mpl_axes.Axes, known: Mapping[int, float]) -> None:
  """The tolerance, which grows from 4,096 tokens on."""
  axes.plot(
      list(known),
      list(known.values()),
      color=style.INK,
      linestyle=_ALLOWED,
      linewidth=0.9,
  )


def _limits(
    axes: mpl_axes.Axes, found: Sequence[Series], allowed: Mapping[int, float]
) -> None:
  """The same limits for all panels of a dtype."""
  axes.set_xscale("log", base=2)
  axes.set_yscale("log")
  values = [
      x
      for one in found
      for x in map(roundings.relative, one.records.values())
      if x > 0
  ] + list(allowed.values())
  axes.set_ylim(min(values) / 1.5, max(values) * 1.5)
  lengths = sorted({n for one in found for n in one.records})
  axes.set_xlim(lengths[0] / 1.5, lengths[-1] * 1.5)
  axes.xaxis.set_major_locator(ticker.FixedLocator(lengths))
  axes.xaxis.set_major_formatter(
      ticker.FixedFormatter([units.count(n) for n in lengths])
  )
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.yaxis.set_major_formatter(ticker.FuncFormatter(_power))
  axes.yaxis.set_minor_formatter(ticker.NullFormatter())
  axes.grid(True, which="major", color="#e4e4e4", linewidth=0.4)
  axes.set_axisbelow(True)


def _power(y: float, _: Any) -> str:
  """A power of ten: 1e-7."""
  return f"1e{round(math.log10(y))}" if y > 0 else ""


def _names(axes: mpl_axes.Axes, colours: Mapping[str, str]) -> None:
  """Names of a family's mechanisms in their colours, right of its row."""
  for line, (name, colour) in enumerate(colours.items()):
    axes.annotate(
        name.rpartition(":")[2],
        (1, 1),
        xycoords="axes fraction",
        xytext=(5, -4 - 9.5 * line),
        textcoords="offset points",
        color=colour,
        fontsize=7,
        va="top",
    )


def _colours(count: int) -> list[str]:
  """As many different colours as there are."""
  more = (*style.COLOURS, "#7A4A1E", style.GUIDE)
  return [more[i % len(more)] for i in range(count)]


def _roundoff(dtype: str) -> tuple[float, str]:
  known = {"float64": 53, "float32": 24, "float16": 11, "bfloat16": 8}
  return -known.get(dtype, math.inf), dtype


def _rank(form: str) -> tuple[int, str]:
  known = list(_MARKERS)
  return (known.index(form) if form in known else len(known)), form


def _handles(forms: Sequence[str]) -> list[Any]:
  """Entries of the legend: forms by marker, and the tolerance."""
  by_marker: dict[str, list[str]] = {}
  for form in forms:
    by_marker.setdefault(_MARKERS.get(form, "D"), []).append(form)
  found = [
      sheets.handle(", ".join(names), style.INK, marker=marker, linestyle="")
      for marker, names in by_marker.items()
  ]
  return found + [sheets.handle("tolerance", style.INK, linestyle=_ALLOWED)]


def _caption(
    records: Sequence[Record],
    found: Sequence[Series],
    environment: Mapping[str, Any],
) -> str:
  full = sorted(
      {
          s.mechanism
          for s in found
          if not all(r["point"]["causal"] for r in s.records.values())
      }
  )
  whose = f"full: {', '.join(full)}" if full else "all causal"
  return (
      "Relative distance of every form to its mechanism's definition in"
      " float64, on the inputs as rounded to the dtype: root mean square of"
      " sampled rows, the first half of them or half of the other's, whichever"
      f" is larger; {medians.place(records, environment, dtype=False)}. Dashed:"
      " the tolerance beyond which a form is not timed. A step is a compiled"
      f" scan of steps; {whose}."
  )
