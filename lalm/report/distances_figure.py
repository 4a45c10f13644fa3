"""The figure of distances to softmax: against the budget and the position.

A column is a sharpness. From above: full attention, causal attention, the
kernel that random features estimate, and causal attention by position.
"""

import functools
import math
import statistics
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import ticker

from lalm import units
from lalm.report import canvas, distances, medians, sheets, style
from lalm.report.distances import Record, Series

_BLUE, _RED, _GREEN, _PINK, _ORANGE, _SKY, _BLACK = style.COLOURS
_BROWN = "#7A4A1E"
_LOOKS = {
    "performer": (_BLUE, "o"),
    "performer_independent": (_SKY, "s"),
    "performer_hyperbolic": (_PINK, "^"),
    "performer_trigonometric": (_BLACK, "D"),
    "linformer": (_ORANGE, "v"),
    "linformer_gaussian": (_ORANGE, "x"),
    "nystromformer": (_GREEN, "P"),
    "window": (_RED, "X"),
    "lsh": (_BROWN, "<"),
}
_FIRST_ORDER = 0.3  # beyond, what it leaves out is no smaller than a tenth
_LOWEST, _HIGHEST = 3e-3, 20.0
_POSITION_BUDGET = 64  # or the nearest there is
_THEORY = (0, (3.5, 1.5))


class _Row(NamedTuple):
  """A row of panels.

  Attributes:
    words: what its titles say.
    label: of the vertical axes.
    causal: whose records it shows.
    draw: called with axes and series.
  """

  words: str
  label: str
  causal: bool
  draw: Callable[..., None]


def render(
    records: Iterable[Record], environment: Mapping[str, Any]
) -> dict[str, bytes]:
  """The figure of the newest setting in each format; none without a number.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  but = (*distances.OWN, "causal")
  for own in medians.settings(records, distances.EXPERIMENT, but):
    ways = {
        causal: distances.series(
            r for r in own if r["point"]["causal"] == causal
        )
        for causal in (False, True)
    }
    ways = {c: [s for s in all if s.records] for c, all in ways.items()}
    if any(ways.values()):
      return canvas.render(functools.partial(_draw, own, ways, environment))
  return {}


def _draw(
    records: Sequence[Record],
    ways: Mapping[bool, list[Series]],
    environment: Mapping[str, Any],
) -> Any:
  length = records[0]["point"]["length"]
  names = sorted(
      {s.mechanism for all in ways.values() for s in all}, key=_order
  )
  columns = sorted({s.sharpness for all in ways.values() for s in all})
  rows = [row for row in _rows(ways) if ways[row.causal]]
  caption = _caption(records, environment)
  found = sheets.sheet(len(rows), len(columns), _handles(names), caption, 4)
  for i, row in enumerate(rows):
    for j, sharpness in enumerate(columns):
      axes = found.axes[i][j]
      own = [s for s in ways[row.causal] if s.sharpness == sharpness]
      by_position = row.draw is _position
      row.draw(axes, own)
      words = [row.words, f"logits {sharpness:g} x"]
      if by_position:
        words.insert(
            1, f"budget {distances.budget_name(_position_budget(own))}"
        )
      sheets.title(axes, i * len(columns) + j, ", ".join(words))
      _scales(axes)
      if j == 0:
        axes.set_ylabel(row.label)
      else:
        axes.tick_params(labelleft=False)
      axes.set_xlabel("position of the query" if by_position else "budget")
      if not by_position:
        axes.axvline(length, color=style.GUIDE, linewidth=0.5, linestyle=":")
  return found.figure


def _rows(ways: Mapping[bool, list[Series]]) -> list[_Row]:
  """The rows there is something to show in."""
  distance = "distance to softmax"
  rows = [
      _Row("full", distance, False, _outputs),
      _Row("causal", distance, True, _outputs),
  ]
  full = bool(ways[False])
  kernels = [s for s in ways[not full] if s.median(_kernel)]
  if kernels:
    words = "the kernel, full" if full else "the kernel, causal"
    rows.append(_Row(words, "distance of estimates", not full, _kernels))
  return [*rows, _Row("causal", distance, True, _position)]


def _kernel(record: Record) -> Any:
  return record.get("kernel")


def _outputs(axes: mpl_axes.Axes, found: Sequence[Series]) -> None:
  """Distances of outputs against the budget, with theory and the mean."""
  for one in found:
    _curve(axes, one, distances.relative)
    if _independent(one):
      _theory(axes, one, one.median(distances.theory("output")), _FIRST_ORDER)
  means = [
      one.median(lambda record: record["mean"])
      for one in found
      if one.mechanism != "lsh"  # its queries are others
  ]
  level = [x for mean in means for x in mean.values()]
  if level:
    axes.axhline(level[0], color=style.GUIDE, linewidth=0.8, zorder=0)


def _kernels(axes: mpl_axes.Axes, found: Sequence[Series]) -> None:
  """Distances of estimates of the kernel, with their exact expectation."""
  for one in found:
    if one.median(_kernel):
      _curve(axes, one, _kernel)
      if _independent(one):
        _theory(axes, one, one.median(distances.theory("kernel")), math.inf)


def _position(axes: mpl_axes.Axes, found: Sequence[Series]) -> None:
  """Distances of the rows between two powers of two."""
  budget = _position_budget(found)
  for one in found:
    records = one.records.get(budget)
    if not records:
      continue
    edges = records[0]["distance"]["edges"]
    parts = [r["distance"]["by_position"] for r in records]
    known = [
        [x for x in map(units.number, values) if x is not None]
        for values in zip(*parts)
    ]
    places = [math.sqrt(max(a, 1) * b) for a, b in zip(edges, edges[1:])]
    points = {x: sorted(y) for x, y in zip(places[1:], known[1:]) if y}
    _line(axes, one.mechanism, points)


def _curve(
    axes: mpl_axes.Axes, one: Series, read: Callable[[Record], Any]
) -> None:
  """A number against the budget: medians, with all draws in between."""
  points: dict[float, list[float]] = {}
  for budget, records in one.records.items():
    numbers = [units.number(read(record)) for record in records]
    known = sorted(x for x in numbers if x is not None)
    if known:
      points[_used(records[0])] = known
  _line(axes, one.mechanism, points)


def _line(
    axes: mpl_axes.Axes, name: str, points: Mapping[float, list[float]]
) -> None:
  """Medians of sorted numbers joined, and bars from the least to the most."""
  colour, marker = _LOOKS.get(name, (style.INK, "."))
  places = sorted(points)
  middle = [statistics.median(points[x]) for x in places]
  axes.plot(
      places,
      middle,
      color=colour,
      marker=marker,
      markeredgewidth=0.4 if marker != "x" else 1.0,
      markeredgecolor="white" if marker != "x" else colour,
  )
  low, high = ([points[x][end] for x in places] for end in (0, -1))
  axes.vlines(places, low, high, color=colour, linewidth=0.6, alpha=0.6)


def _theory(
    axes: mpl_axes.Axes, one: Series, expected: Mapping[int, float], most: float
) -> None:
  """A line like 1 / sqrt(m), up to where it is a prediction."""
  if not expected:
    return
  last = max(expected)
  budget = _used(one.records[last][0])
  level = expected[last] * math.sqrt(budget)
  first = max(min(map(_used, (r[0] for r in one.records.values()))),
              (level / most) ** 2)  # fmt: skip
  if first < budget:
    axes.plot(
        [first, budget],
        [level / math.sqrt(first), level / math.sqrt(budget)],
        color=_LOOKS[one.mechanism][0],
        linestyle=_THEORY,
        linewidth=0.9,
    )


def _scales(axes: mpl_axes.Axes) -> None:
  axes.set_xscale("log", base=2)
  axes.set_yscale("log")
  axes.set_ylim(_LOWEST, _HIGHEST)
  axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f"{x:g}"))
  axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: f"{y:g}"))
  axes.yaxis.set_minor_formatter(ticker.NullFormatter())
  axes.grid(True, which="major", color="#e4e4e4", linewidth=0.4)
  axes.set_axisbelow(True)


def _used(record: Record) -> int:
  """The budget that was spent, where its own was asked for too."""
  return record["budget"]


def _position_budget(found: Iterable[Series]) -> int:
  known = sorted({budget for one in found for budget in one.records})
  far = lambda budget: abs(math.log2(max(budget, 1) / _POSITION_BUDGET))
  return min(known, key=far, default=0)


def _independent(one: Series) -> bool:
  """Whether its theory is of the same features, not of independent ones."""
  return one.mechanism != "performer"


def _order(name: str) -> tuple[int, str]:
  known = list(_LOOKS)
  return (known.index(name) if name in known else len(known)), name


def _handles(names: Sequence[str]) -> list[Any]:
  """Entries of the legend."""
  found = []
  for name in names:
    colour, marker = _LOOKS.get(name, (style.INK, "."))
    found.append(sheets.handle(name, colour, marker=marker))
  found.append(
      sheets.handle("theory of that colour", style.INK, linestyle=_THEORY)
  )
  found.append(sheets.handle("mean of the values", style.GUIDE, linewidth=0.8))
  return found


def _caption(records: Sequence[Record], environment: Mapping[str, Any]) -> str:
  point = records[0]["point"]
  return (
      f"Relative distance to softmax attention in float64, n = "
      f"{point['length']:,}; {medians.place(records, environment)}. Budget:"
      " features (pairs of hyperbolic and trigonometric ones), rows of a"
      " projection, landmarks, or tokens of a window, of a bucket for lsh,"
      " whose queries are its keys. Medians over draws (of"
      f" {medians.workers(records)}), bars from the least to the most."
      " Logits have a deviation of about 1 before they are multiplied. Theory"
      " of outputs is of the first order, drawn where it is below"
      f" {_FIRST_ORDER:g}; that of the kernel is exact, the root mean square"
      " over all draws: for positive features and large logits few draws in"
      " very many decide it, and those seen lie far below. A grey line: the"
      " mean of the values a query sees; dotted: a budget of n. Lines that"
      " leave a panel at its foot go on to rounding errors; what is farther"
      f" than {_HIGHEST:g} is above it."
  )
