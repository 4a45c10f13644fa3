"""The figure of longest contexts: a row a form, a mark a machine, log axis."""

from matplotlib import axes as mpl_axes
from matplotlib import figure as mpl_figure
from matplotlib import lines as mpl_lines
from matplotlib import ticker

from lalm.report import canvas
from lalm.report import laws
from lalm.report import longest
from lalm.report import style
from lalm.report.longest import Setting

_LEFT, _RIGHT, _BETWEEN = 1.42, 0.12, 0.14  # inches beside the panels
_TOP, _ROW = 0.30, 0.15  # inches above them, and of a form


def render(setting: Setting) -> dict[str, bytes]:
  """Returns the figure of one setting as the bytes of each format."""
  return canvas.render(lambda: draw(setting))


def draw(setting: Setting) -> mpl_figure.Figure:
  """The figure, not yet written; see `render`."""
  passes = sorted({line.pass_ for line in setting.lines})
  names = _order(setting)
  words = canvas.wrapped(_caption(setting))
  foot = 0.72 + canvas.LINE * len(words)
  height = foot + _ROW * len(names) + _TOP
  figure = canvas.blank(height)
  width = style.WIDTH - _LEFT - _RIGHT - _BETWEEN * (len(passes) - 1)
  width /= len(passes)
  for i, pass_ in enumerate(passes):
    left = _LEFT + i * (width + _BETWEEN)
    axes = figure.add_axes(
        (
            left / style.WIDTH,
            foot / height,
            width / style.WIDTH,
            _ROW * len(names) / height,
        )
    )
    _panel(axes, setting, pass_, names)
    axes.set_yticks(range(len(names)), names if i == 0 else [""] * len(names))
  handles = [_mark(setting, machine) for machine in setting.machines]
  figure.legend(
      handles=handles,
      ncols=len(handles),
      loc="lower center",
      bbox_to_anchor=(0.5, (0.14 + canvas.LINE * len(words)) / height),
      frameon=False,
      fontsize=7,
      handletextpad=0.2,
      columnspacing=1.2,
  )
  canvas.caption(figure, words)
  return figure


def _order(setting: Setting) -> list[str]:
  """Names of forms, those that reach farthest last, which is on top."""
  reach: dict[str, list[int]] = {}
  for line in setting.lines:
    own = reach.setdefault(line.name, [])
    own += [longest.length(record) for record in line.found.values()]
  return sorted(reach, key=lambda name: (max(reach[name], default=0), name))


def _panel(
    axes: mpl_axes.Axes, setting: Setting, pass_: str, names: list[str]
) -> None:
  axes.set_xscale("log", base=2)
  axes.set_ylim(-0.6, len(names) - 0.4)
  axes.grid(True, color="#e6e6e6", linewidth=0.5)
  axes.set_axisbelow(True)
  axes.tick_params(axis="y", length=0)
  axes.set_title(laws.pass_name(pass_), loc="left")
  axes.set_xlabel("longest context (tokens)")
  axes.xaxis.set_major_formatter(ticker.FuncFormatter(_tokens))
  for line in setting.lines:
    if line.pass_ != pass_:
      continue
    for machine, record in line.found.items():
      mark = _mark(setting, machine)
      axes.plot(
          [longest.length(record)],
          [names.index(line.name)],
          color=mark.get_color(),
          marker=mark.get_marker(),
          linestyle="",
          markersize=4,
      )


def _tokens(value: float, _: int) -> str:
  for unit, letter in ((2**30, "G"), (2**20, "M"), (2**10, "K")):
    if value >= unit:
      return f"{value / unit:g}{letter}"
  return f"{value:g}"


def _mark(setting: Setting, machine: str) -> mpl_lines.Line2D:
  rank = setting.machines.index(machine)
  return mpl_lines.Line2D(
      [],
      [],
      color=style.COLOURS[rank % len(style.COLOURS)],
      marker=style.MARKERS[rank % len(style.MARKERS)],
      linestyle="",
      label=machine,
      markersize=4,
  )


def _caption(setting: Setting) -> str:
  return (
      f"{setting.heading[0].upper()}{setting.heading[1:]}. The longest length"
      " that each machine's compiler finds room for; a sequence is split over"
      " its devices. K, M and G are powers of 1,024."
  )
