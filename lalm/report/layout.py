"""Where the panels of the figure stand, in inches, and their limits."""

from typing import Mapping, NamedTuple, Sequence

from lalm.report import laws, panels, scales, style
from lalm.report.results import Curve, Group

_HEIGHTS = {"time": 2.4, "memory": 1.8, "slope": 1.5}  # inches
_LEFT, _RIGHT, _TOP = 0.68, 0.82, 0.28  # inches around a column
_BETWEEN = 0.30  # inches between two rows of panels


class Panel(NamedTuple):
  """What is drawn, and its place in inches from the lower left corner."""

  quantity: str
  pass_: str
  left: float
  bottom: float
  frame: scales.Frame


def arrange(
    group: Group,
    looks: Mapping[Curve, style.Look],
    foot: float,
    strip: float,
) -> tuple[list[Panel], float]:
  """Places of the panels, and the height of the figure, in inches."""
  passes, lengths = group.passes(), group.lengths()
  kinds = ["time"]
  traces = (panels.traces(group, p, "memory", looks) for p in passes)
  if any(traces):
    kinds.append("memory")
  if any(
      panels.local_slopes(group, c, p) for c in group.curves for p in passes
  ):
    kinds.append("slope")
  head = _TOP + strip + (0.04 if strip else 0.0)
  if len(passes) == 1 and len(kinds) > 1:
    return _side_by_side(group, kinds, foot, head)
  inner = style.WIDTH - _LEFT - _RIGHT * len(passes) - 0.08 * (len(passes) - 1)
  width = inner / len(passes)
  # Tall enough for a label beside each curve.
  least = _labels_height(group)
  tallest = {kind: max(tall, least) for kind, tall in _HEIGHTS.items()}
  heights = [(_HEIGHTS if k == "slope" else tallest)[k] for k in kinds]
  total = foot + head + sum(heights) + _BETWEEN * (len(kinds) - 1)
  placed, top = [], total - head
  for kind, tall in zip(kinds, heights, strict=True):
    for column, pass_ in enumerate(passes):
      left = _LEFT + column * (width + _RIGHT + 0.08)
      frame = scales.Frame(width, tall, lengths)
      placed.append(Panel(kind, pass_, left, top - tall, frame))
    top -= tall + _BETWEEN
  return placed, total


def _side_by_side(
    group: Group, kinds: Sequence[str], foot: float, head: float
) -> tuple[list[Panel], float]:
  """One pass: time on the left, what else there is stacked on the right."""
  width = (style.WIDTH - 2 * (_LEFT + _RIGHT)) / 2
  (pass_,), lengths, rest = group.passes(), group.lengths(), kinds[1:]
  usual = 1.45 if len(rest) > 1 else 2.4
  least = {"memory": _labels_height(group)}
  heights = [max(usual, least.get(kind, 0.0)) for kind in rest]
  tall = sum(heights) + _BETWEEN * (len(rest) - 1)
  frame = scales.Frame(width, tall, lengths)
  placed = [Panel("time", pass_, _LEFT, foot, frame)]
  top = foot + tall
  for kind, height in zip(rest, heights, strict=True):
    frame = scales.Frame(width, height, lengths)
    left = 2 * _LEFT + width + _RIGHT
    placed.append(Panel(kind, pass_, left, top - height, frame))
    top -= height + _BETWEEN
  return placed, foot + tall + head


def _labels_height(group: Group) -> float:
  return scales.ROW * (len(group.curves) + 1)


def limits(
    group: Group,
    looks: Mapping[Curve, style.Look],
    placed: Sequence[Panel],
) -> dict[str, tuple[float, float]]:
  """The vertical limits of each quantity, the same in every column."""
  found = {}
  for quantity in ("time", "memory"):
    row = [panel for panel in placed if panel.quantity == quantity]
    shown = [
        spread
        for panel in row
        for trace in panels.traces(group, panel.pass_, quantity, looks)
        for spread in trace.points
    ]
    if shown:
      labels = max(_labels(group, panel.pass_, quantity) for panel in row)
      found[quantity] = scales.room(shown, labels, row[0].frame)
  values = [
      value
      for curve in group.curves
      for pass_ in group.passes()
      for _, value, _ in panels.local_slopes(group, curve, pass_)
  ]
  found["slope"] = (
      min([0.0, *values]) - 0.25,
      max([2.0, *values]) + 0.25,
  )
  return found


def _labels(group: Group, pass_: str, quantity: str) -> int:
  """Crossovers of a panel that are labelled: all of them or, if many, none."""
  found = crossed(group, pass_, quantity)
  count = sum(len(laws.crossing_lengths(item)) for item in found)
  return count if count <= scales.NAMED else 0


def crossed(group: Group, pass_: str, quantity: str) -> list[Mapping]:
  """The crossovers of one panel."""
  return [
      item
      for item in laws.crossovers(group)
      if (item.get("pass"), item.get("quantity")) == (pass_, quantity)
      and laws.crossing_lengths(item)
  ]
