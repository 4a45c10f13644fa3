"""Tables of what 16 bits do to a model's matrices, foreseen and measured."""

from collections.abc import Iterable, Mapping
import math
import pathlib
from typing import Any, NamedTuple

import numpy as np

from lalm.report import anatomy
from lalm.report import build
from lalm.report import medians

EXPERIMENT = "conditioning"
DTYPES = ("bfloat16", "float16")
Record = Mapping[str, Any]
_NUMBERS = ("condition", "gram_condition", "effective_rank")
_NOTES = (
    "- medians over stretches of text; condition: of the weights, and of X^T X"
    " of the vectors they multiply (none of fewer vectors than columns);"
    " effective rank: of those vectors",
    "- error of W x: relative, root of the mean of squares over tokens, with"
    " entries rounded and sums in float32; foreseen: from the variance of"
    " rounding alone",
)


class Row(NamedTuple):
  """A matrix: its name, role and layer, and numbers by name."""

  name: str
  role: str
  layer: int
  numbers: dict[str, float | None]


def publish(folder: pathlib.Path) -> None:
  """Writes table.md and figures of a device's folder.

  Args:
    folder: has `records.jsonl` and `environment.json`.
  """
  records, environment = medians.publish(folder, tables)
  where = environment.get("slug", "device")
  each = anatomy.settings(records, EXPERIMENT)
  drawn = [(setting, where) for setting in each if rows(setting)]
  build.show(folder, "precision", "conditioning_figure", drawn)


def rows(setting: anatomy.Setting) -> list[Row]:
  """Returns the matrices by layer and role."""
  found: dict[tuple[str, str, int], list[Record]] = {}
  for record in setting.records:
    for own in record["matrices"]:
      key = (own["name"], own["role"], own["layer"])
      found.setdefault(key, []).append(own)
  made = [
      Row(*key, {n: anatomy.middle([m[n] for m in each]) for n in _names()})
      for key, each in found.items()
  ]
  return sorted(made, key=lambda row: (row.layer, row.name))


def _names() -> list[str]:
  words = ("foreseen", "measured")
  return [*_NUMBERS, *(f"{word} {d}" for d in DTYPES for word in words)]


def correlation(found: list[Row], first: str, second: str) -> float | None:
  """Returns the correlation of two numbers' logarithms over matrices."""
  pairs = [(row.numbers[first], row.numbers[second]) for row in found]
  known = [(a, b) for a, b in pairs if a and b]
  if len(known) < 3:
    return None
  logs = np.log(np.array(known)).T
  if not logs.std(axis=1).all():
    return None
  value = float(np.corrcoef(logs)[0, 1])
  return value if math.isfinite(value) else None


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns the tables of all settings as Markdown, the newest first.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  return anatomy.tables(records, environment, EXPERIMENT, _markdown)


def _markdown(setting: anatomy.Setting, where: str) -> str:
  found = rows(setting)
  head = ["matrix", "role", "condition", "of X^T X", "effective rank of X"]
  head += [f"{d} {w}" for d in DTYPES for w in ("foreseen", "measured")]
  cells = [
      [row.name, row.role, *(_cell(n, x) for n, x in row.numbers.items())]
      for row in found
  ]
  lengths = sorted({r["point"]["length"] for r in setting.records})
  of = f"n = {', '.join(f'{n:,}' for n in lengths)}"
  notes = [*_NOTES, *_correlations(found), *setting.remarks]
  return "\n".join(
      [
          f"**{setting.heading}; {where}; {of}**",
          "",
          *medians.table(head, cells, words=2),
          "",
          *notes,
          "",
      ]
  )


def _cell(name: str, x: float | None) -> str:
  overflows = x is None and name.startswith("measured")
  return "overflows" if overflows else anatomy.number(x)


def _correlations(found: list[Row]) -> list[str]:
  lines = []
  for dtype in DTYPES:
    measured = f"measured {dtype}"
    ours = correlation(found, f"foreseen {dtype}", measured)
    kappa = correlation(found, "condition", measured)
    if ours is not None and kappa is not None:
      lines.append(
          f"- {dtype}: correlation over matrices of log measured with log"
          f" foreseen {ours:.3f}, with log condition {kappa:.3f}"
      )
  return lines
