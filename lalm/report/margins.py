"""What stands beside the data of a panel: guides, exponents, failures."""

import math
from typing import Any, Mapping, Sequence

from matplotlib import axes as mpl_axes
from matplotlib import transforms

from lalm import units
from lalm.report import style
from lalm.report.results import Curve
from lalm.report.scales import ROW, Frame, guide_span

LETTERS = {
    "refused": "R",
    "wrong": "W",
    "not_finite": "N",
    "out_of_memory": "M",
    "timeout": "T",
    "crashed": "C",
    "over_budget": "B",
    "skipped": "S",
}
SMALL = 6.0  # points


def strip(
    ax: mpl_axes.Axes,
    failed: Sequence[tuple[Curve, Mapping[int, str]]],
    looks: Mapping[Curve, style.Look],
    frame: Frame,
) -> None:
  """A line for each curve that has points without a time, a letter for each."""
  ax.set_xscale("log", base=2)
  ax.set_xlim(*frame.limits())
  ax.set_ylim(len(failed) - 0.5, -0.5)
  ax.axis("off")
  for row, (curve, statuses) in enumerate(failed):
    look = looks[curve]
    ax.axhline(row, xmin=-0.02, color="#e6e6e6", linewidth=0.5, clip_on=False)
    ax.plot(
        -0.03,
        row,
        transform=ax.get_yaxis_transform(),
        clip_on=False,
        color=look.colour,
        marker=look.marker,
        markersize=3,
    )
    for length, status in statuses.items():
      ax.text(
          length,
          row,
          LETTERS.get(status, "?"),
          fontsize=SMALL,
          fontweight="bold",
          ha="center",
          va="center",
          bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.2},
      )


def guides(
    ax: mpl_axes.Axes, frame: Frame, limits: tuple[float, float]
) -> None:
  """Slopes 1 and 2 from one point, top left, above the data."""
  start, stop = guide_span(frame)
  inch = (limits[1] / limits[0]) ** (1 / frame.height)
  base = limits[1] / inch**0.06 / (stop / start) ** 2
  for power, label in ((1, "n"), (2, "n²")):
    end = base * (stop / start) ** power
    ax.plot(
        [start, stop],
        [base, end],
        color=style.GUIDE,
        linewidth=0.8,
        linestyle=(0, (3, 1.5)),
    )
    ax.annotate(
        label,
        (stop, end),
        (2, 0),
        textcoords="offset points",
        color=style.GUIDE,
        fontsize=SMALL + 0.5,
        va="center",
    )


def foot(
    ax: mpl_axes.Axes, frame: Frame, length: float, rank: int, label: str
) -> None:
  """A label at the foot of a line, on the side that has room."""
  low, high = frame.limits()
  left = math.log(length / low) < 0.6 * math.log(high / low)
  y = (0.04 + ROW * rank) / frame.height
  ax.annotate(
      label,
      (length, y),
      (3 if left else -3, 0),
      xycoords=ax.get_xaxis_transform(),
      textcoords="offset points",
      fontsize=SMALL,
      ha="left" if left else "right",
      va="bottom",
      zorder=6,
      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4},
  )


def exponents(
    ax: mpl_axes.Axes,
    labels: Sequence[tuple[float, str, style.Look]],
    frame: Frame,
) -> None:
  """Texts in the right margin, each level with the value it belongs to."""
  low, high = (math.log(limit) for limit in ax.get_ylim())
  ordered = sorted(labels, key=lambda label: label[0])
  wanted = [
      frame.height * (math.log(value) - low) / (high - low)
      for value, _, _ in ordered
  ]
  places = spread_out(wanted, ROW, frame.height)
  for place, (_, text, look) in zip(places, ordered, strict=True):
    margin(ax, frame, place / frame.height, text, look.colour, look.marker)


def exponent_label(law: Mapping[str, Any]) -> str:
  """`2.01 ± 0.03`, the wider half of the interval; empty without a law."""
  value = units.number(law.get("exponent"))
  if value is None:
    return ""
  text = units.exponent(value)
  bounds = units.interval(law.get("exponent_ci"))
  if bounds is not None:
    text += f" ± {max(bounds[1] - value, value - bounds[0]):.2f}"
  return text


def spread_out(
    wanted: Sequence[float], gap: float, height: float
) -> list[float]:
  """Ascending places at least `gap` apart within 0 and `height`."""
  places: list[float] = []
  for place in wanted:
    lowest = places[-1] + gap if places else gap / 2
    places.append(max(place, lowest))
  ceiling = height - gap / 2
  for i in reversed(range(len(places))):
    places[i] = min(places[i], ceiling)
    ceiling = places[i] - gap
  return places


def margin(
    ax: mpl_axes.Axes,
    frame: Frame,
    y: float,
    text: str,
    colour: str,
    marker: str = "",
) -> None:
  """Text right of the panel; with a marker y is a share of its height."""
  across = ax.transAxes
  if not marker:
    across = transforms.blended_transform_factory(ax.transAxes, ax.transData)
  start = 1 + 0.05 / frame.width
  if marker:
    ax.plot(
        1 + 0.07 / frame.width,
        y,
        transform=across,
        clip_on=False,
        color=colour,
        marker=marker,
        markersize=2.8,
    )
    start = 1 + 0.13 / frame.width
  ax.text(
      start,
      y,
      text,
      transform=across,
      color=style.INK if marker else colour,
      fontsize=SMALL,
      va="center",
  )
