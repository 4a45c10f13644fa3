"""Tables of a model's matrices: norms, ranks, condition, laws of the spectrum.

`table.csv` has a line a matrix with every number; `table.md` the means of each
role, then a line a matrix with those that are read most.
"""

import csv
import io
import pathlib
import statistics
from typing import Any, Iterable, Mapping, Sequence

from lalm import roles
from lalm import store
from lalm.report import anatomy
from lalm.report import build
from lalm.report import medians

EXPERIMENT = "weight_spectrum"
Record = Mapping[str, Any]
_FIRST = ("name", "role", "layer", "shape")
_NUMBERS = (
    "frobenius", "spectral", "nuclear", "numerical_rank", "stable_rank",
    "effective_rank", "participation_rank", "condition", "alpha", "alpha_error",
    "x_min", "distance", "tail", "noise", "edge", "spikes", "noise_distance",
    "traps",
)  # fmt: skip
_READ = {
    "spectral": "s₁", "numerical_rank": "rank", "stable_rank": "stable",
    "effective_rank": "effective", "condition": "condition", "alpha": "alpha",
    "tail": "tail", "spikes": "above noise", "traps": "traps",
}  # fmt: skip
_MEANT = ("stable_rank", "effective_rank", "condition", "alpha", "spikes")
_FEW = 20  # values of a tail, with fewer of which alpha tells little
_NOTES = (
    "- rank: singular values above rounding in float32; effective: exp of the"
    " entropy of their shares; stable: sum of squares over the largest",
    "- alpha: exponent of a power law of the greatest eigenvalues of W^T W, by"
    " WeightWatcher's rule; tail: how many it is of"
    f" (a star: fewer than {_FEW})",
    "- above noise: singular values above the edge of Marchenko and Pastur's"
    " law, of a noise that the median tells; traps: those of single entries",
)


def publish(folder: pathlib.Path) -> None:
  """Writes table.md, table.csv and figures of a device's folder.

  Args:
    folder: has `records.jsonl` and `environment.json`.
  """
  records, environment = medians.publish(folder, tables)
  found = anatomy.settings(records, EXPERIMENT)
  store.replace(folder / "table.csv", comma_separated(found))
  where = environment.get("slug", "device")
  drawn = [(setting, where) for setting in found if matrices(setting)]
  build.show(folder, "spectra", "spectra_figure", drawn)


def matrices(setting: anatomy.Setting) -> list[Record]:
  """Returns the matrices of a model, in the order of layers and roles.

  Args:
    setting: whose matrices are as `anatomy.matrices.report` returns them; each
      replicate has the same, but for traps, of which the first one's count.
  """
  own = [r for r in setting.records if r["replicate"] == 0]
  found = [m for record in own for m in record["matrices"]]
  return sorted(found, key=_place)


def _place(matrix: Record) -> tuple[bool, int, int, str]:
  role = roles.ALL.index(matrix["role"])
  layer = matrix["layer"]
  return layer is not None, layer or 0, role, matrix["name"]


def comma_separated(found: Sequence[anatomy.Setting]) -> str:
  """Returns a line a matrix of all models."""
  stream = io.StringIO()
  writer = csv.writer(stream, lineterminator="\n")
  writer.writerow(["model", *_FIRST, *_NUMBERS])
  for setting in found:
    for own in matrices(setting):
      shape = "x".join(map(str, own["shape"]))
      first = [own["name"], own["role"], own["layer"], shape]
      writer.writerow(
          [setting.weights, *first, *(own.get(name) for name in _NUMBERS)]
      )
  return stream.getvalue()


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns the tables of all models as Markdown.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  return anatomy.tables(records, environment, EXPERIMENT, _markdown)


def _markdown(setting: anatomy.Setting, where: str) -> str:
  every = matrices(setting)
  heading = f"**{setting.heading}, {len(every)} matrices; {where}**"
  means = [
      _means(role, [m for m in every if m["role"] == role])
      for role in dict.fromkeys(m["role"] for m in every)
  ]
  inside = [m for m in every if m["layer"] is not None]
  if inside:
    means.append(_means("all of layers", inside))
  head = ["role", "matrices", *(f"mean {_READ[name]}" for name in _MEANT)]
  rows = [
      [own["name"], own["role"], "x".join(map(str, own["shape"])), *_cells(own)]
      for own in every
  ]
  columns = ["matrix", "role", "shape", *_READ.values()]
  return "\n".join(
      [
          heading,
          "",
          *medians.table(head, means, words=1),
          "",
          *medians.table(columns, rows, words=3),
          "",
          *_NOTES,
          *setting.remarks,
          "",
      ]
  )


def _means(role: str, own: Sequence[Record]) -> list[str]:
  cells = [role, str(len(own))]
  for name in _MEANT:
    each = [m[name] for m in own if m.get(name) is not None]
    cells.append(_number(statistics.fmean(each)) if each else "")
  return cells


def _cells(own: Record) -> list[str]:
  star = "*" if (own.get("tail") or _FEW) < _FEW else ""
  cells = {name: _number(own.get(name)) for name in _READ}
  cells["alpha"] += star if cells["alpha"] else ""
  if cells["condition"] == "":
    cells["condition"] = "infinite"
  return [*cells.values()]


def _number(x: float | int | None) -> str:
  if x is None:
    return ""
  return str(x) if isinstance(x, int) else f"{x:.4g}"
