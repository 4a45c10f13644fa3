"""The panels of the figure: log-log points with their laws, local slopes.

Every function draws into axes it is given.
"""

import math
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from matplotlib import axes as mpl_axes

from lalm import units
from lalm.report import laws, margins, points, scales, style
from lalm.report.results import Curve, Group
from lalm.report.scales import Frame


class Trace(NamedTuple):
  """What one curve shows in one panel."""

  curve: Curve
  look: style.Look
  points: tuple[points.Spread, ...]
  law: Mapping[str, Any]


def traces(
    group: Group, pass_: str, quantity: str, looks: Mapping[Curve, style.Look]
) -> list[Trace]:
  """The curves of one pass that have a point or a law of this quantity."""
  found = []
  for curve in group.curves:
    measured = points.spreads(group, curve, pass_, quantity)
    law = group.fits.get((curve, pass_, quantity), {})
    if measured:
      found.append(Trace(curve, looks[curve], measured, law))
  return found


def law_value(law: Mapping[str, Any], length: float) -> float | None:
  """The fitted law at this length, None where none is stated."""
  terms = law.get("terms")
  if not isinstance(terms, Mapping) or not terms:
    return None
  basis = {
      "1": 1.0,
      "n": length,
      "n log n": length * math.log(length),
      "n^2": length**2,
  }
  if not set(terms) <= set(basis):
    return None
  weights = {name: units.number(weight) for name, weight in terms.items()}
  if None in weights.values():
    return None
  return sum(weights[name] * basis[name] for name in terms)  # type: ignore


def log_log(
    ax: mpl_axes.Axes,
    shown: Sequence[Trace],
    crossovers: Iterable[Mapping],
    frame: Frame,
    limits: tuple[float, float],
) -> None:
  """Points with bands, laws, guide slopes, crossovers and exponents."""
  ax.set_xscale("log", base=2)
  ax.set_yscale("log")
  ax.set_xlim(*frame.limits())
  ax.set_ylim(*limits)
  scales.lengths_axis(ax, frame)
  ax.grid(axis="y", color="#e6e6e6", linewidth=0.5)
  ax.set_axisbelow(True)
  for trace in shown:
    _curve(ax, trace)
  margins.guides(ax, frame, limits)
  _crossings(ax, shown, crossovers, frame)
  labels = [
      (trace.points[-1].centre, margins.exponent_label(trace.law), trace.look)
      for trace in shown
  ]
  margins.exponents(ax, [label for label in labels if label[1]], frame)


def empty(ax: mpl_axes.Axes, frame: Frame) -> None:
  """A panel without points, over the lengths that were asked for."""
  ax.set_xscale("log", base=2)
  ax.set_xlim(*frame.limits())
  scales.lengths_axis(ax, frame)
  ax.set_yticks([])


def slopes(
    ax: mpl_axes.Axes,
    group: Group,
    pass_: str,
    looks: Mapping[Curve, style.Look],
    frame: Frame,
    limits: tuple[float, float],
) -> None:
  """The local slope of time between neighbouring lengths, with intervals."""
  ax.set_xscale("log", base=2)
  ax.set_xlim(*frame.limits())
  ax.set_ylim(*limits)
  scales.lengths_axis(ax, frame)
  for power, label in enumerate(("constant", "n", "n²")):
    ax.axhline(power, color=style.GUIDE, linewidth=0.6, linestyle=(0, (1, 2)))
    margins.margin(ax, frame, power, label, style.GUIDE)
  found = {c: local_slopes(group, c, pass_) for c in group.curves}
  shown = [curve for curve in group.curves if found[curve]]
  for rank, curve in enumerate(shown):
    # Side by side, so that the intervals of two curves do not hide each other.
    shift = 1.5 ** ((rank - (len(shown) - 1) / 2) / max(len(shown), 4))
    look = looks[curve]
    places = [length * shift for length, _, _ in found[curve]]
    values = [value for _, value, _ in found[curve]]
    ax.plot(
        places,
        values,
        color=look.colour,
        linestyle=look.line,
        alpha=0.5,
        linewidth=0.6,
    )
    bars = [
        (place, *bounds)
        for place, (_, _, bounds) in zip(places, found[curve], strict=True)
        if bounds is not None
    ]
    if bars:
      ax.vlines(*zip(*bars), color=look.colour, linewidth=0.8)
    _points(ax, places, values, look, markersize=3)


def local_slopes(
    group: Group, curve: Curve, pass_: str
) -> list[tuple[float, float, tuple[float, float] | None]]:
  """(length, slope, interval) as fitted, else from neighbouring medians."""
  law = group.fits.get((curve, pass_, "time"), {})
  stated = law.get("local_slopes")
  found = []
  for item in stated if isinstance(stated, list) else ():
    length, value = units.number(item.get("length")), units.number(
        item["slope"]
    )
    if length is not None and value is not None:
      found.append((length, value, units.interval(item.get("ci"))))
  if found:
    return found
  measured = points.spreads(group, curve, pass_, "time")
  for a, b in zip(measured, measured[1:], strict=False):
    slope = math.log(b.centre / a.centre) / math.log(b.length / a.length)
    found.append((math.sqrt(a.length * b.length), slope, None))
  return found


def _curve(ax: mpl_axes.Axes, trace: Trace) -> None:
  look = trace.look
  lengths = [s.length for s in trace.points]
  # An interval that reaches zero has no end on a logarithmic axis.
  low = [max(s.low, 1e-3 * s.centre) for s in trace.points]
  high = [s.high for s in trace.points]
  if any(a < b for a, b in zip(low, high, strict=True)):
    ax.fill_between(
        lengths, low, high, color=look.colour, alpha=0.2, linewidth=0
    )
  if len(lengths) == 1:  # a band of one point has no area
    ax.plot(lengths * 2, [*low, *high], color=look.colour, linewidth=0.8)
  centre = [s.centre for s in trace.points]
  grid = _between(lengths[0], lengths[-1])
  values = [law_value(trace.law, length) or 0.0 for length in grid]
  if min(values) > 0:
    ax.plot(grid, values, color=look.colour, linestyle=look.line)
  else:
    ax.plot(lengths, centre, color=look.colour, linestyle=":", linewidth=0.7)
  _points(ax, lengths, centre, look)


def _points(
    ax: mpl_axes.Axes,
    lengths: Sequence[float],
    values: Sequence[float],
    look: style.Look,
    **more: Any,
) -> None:
  ax.plot(
      lengths,
      values,
      color=look.colour,
      marker=look.marker,
      linestyle="none",
      markeredgecolor="white",
      markeredgewidth=0.4,
      **more,
  )


def _between(low: float, high: float, count: int = 65) -> list[float]:
  ratio = math.log(high / low)
  return [low * math.exp(ratio * i / (count - 1)) for i in range(count)]


def _crossings(
    ax: mpl_axes.Axes,
    shown: Sequence[Trace],
    crossovers: Iterable[Mapping],
    frame: Frame,
) -> None:
  """A ring where two laws meet, its interval, a line down to the length."""
  marked = []
  for item in crossovers:
    for length, bounds in laws.crossing_lengths(item):
      height = _height(shown, item.get("a"), length)
      if height is not None:
        marked.append((length, height, bounds))
  marked.sort(key=lambda mark: mark[0])
  bottom = ax.get_ylim()[0]
  for rank, (length, height, bounds) in enumerate(marked):
    if bounds is not None:
      ax.plot(
          bounds,
          [height] * 2,
          color=style.INK,
          linewidth=0.9,
          marker="|",
          markersize=4,
          zorder=4,
      )
    ax.plot(
        length,
        height,
        marker="o",
        markersize=6.5,
        color=style.INK,
        markerfacecolor="none",
        markeredgewidth=0.9,
        zorder=5,
    )
    if len(marked) > scales.NAMED:
      continue  # the table names them all
    ax.plot(
        [length] * 2,
        [bottom, height],
        color=style.INK,
        linewidth=0.5,
        linestyle=(0, (1, 1.5)),
        zorder=1,
    )
    label = f"n* = {laws.length_text(length, bounds)}"
    margins.foot(ax, frame, length, rank, label)


def _height(shown: Sequence[Trace], name: Any, length: float) -> float | None:
  """The height of the named curve between its points: no law is trusted."""
  for trace in shown:
    if f"{trace.curve.mechanism}.{trace.curve.form}" != name:
      continue
    for a, b in zip(trace.points, trace.points[1:], strict=False):
      if a.length <= length <= b.length:
        part = math.log(length / a.length) / math.log(b.length / a.length)
        return a.centre * (b.centre / a.centre) ** part
  return None
