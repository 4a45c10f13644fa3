"""Tables of a model's attention maps by layer, and of what could stand in."""

from collections.abc import Iterable, Mapping
import pathlib
from typing import Any

from lalm.report import anatomy
from lalm.report import build
from lalm.report import medians

EXPERIMENT = "attention_spectrum"
MAPS = "maps"
_STREAMS = ("whole", "no networks", "no skips", "attention alone")
LINEAR = 0.1  # error below which a head counts as linear
Record = Mapping[str, Any]
_NOTES = (
    "- medians over stretches of text, of means over heads; entropy in nats;"
    " captured: share of the singular values' sum in the first n/4 of n",
    "- CKA: debiased, of the stream after a layer with what it was before",
    "- residual: |X - 1 x^T| / |X| of the stream after a layer; 0 is a token"
    " repeated; without skips and networks the same weights compute",
)


def publish(folder: pathlib.Path) -> None:
  """Writes table.md and figures of a device's folder.

  Args:
    folder: has `records.jsonl` and `environment.json`.
  """
  records, environment = medians.publish(folder, tables)
  where = environment.get("slug", "device")
  drawn = [
      (setting, where)
      for setting in anatomy.settings(records, EXPERIMENT)
      if setting.of(mechanism=MAPS)
  ]
  build.show(folder, "maps", "attention_maps_figure", drawn)


def lengths(setting: anatomy.Setting) -> list[int]:
  """Those that maps were looked at, ascending."""
  return sorted({r["point"]["length"] for r in setting.of(mechanism=MAPS)})


def of_maps(setting: anatomy.Setting, length: int, name: str) -> Any:
  """A field of the maps' records, the median over stretches."""
  return anatomy.middle(
      [r[name] for r in setting.of(mechanism=MAPS, length=length)]
  )


def residuals(setting: anatomy.Setting, length: int) -> dict[str, list[float]]:
  """How far tokens are from equal, before the first layer and after each."""
  found = setting.of(mechanism=MAPS, length=length)
  names = sorted(found[0]["residual"], key=_STREAMS.index)
  return {
      name: anatomy.middle([r["residual"][name] for r in found])
      for name in names
  }


def stand_ins(
    setting: anatomy.Setting, length: int
) -> dict[tuple[str, str], list[list[float]]]:
  """Errors of each stand-in and budget, `[layers][heads]`."""
  found: dict[tuple[str, str], list[Any]] = {}
  for record in setting.of(length=length):
    for budget, errors in record.get("errors", {}).items():
      name = record["point"]["mechanism"]
      found.setdefault((name, budget), []).append(errors)
  size = lambda budget: int(budget) if budget.isdecimal() else 0
  return {
      (name, budget): anatomy.middle(found[name, budget])
      for name, budget in sorted(found, key=lambda x: (x[0], size(x[1])))
  }


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns the tables of all settings as Markdown, the newest first.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  return anatomy.tables(records, environment, EXPERIMENT, _markdown)


def _markdown(setting: anatomy.Setting, where: str) -> str:
  lines = [f"**{setting.heading}; {where}**", ""]
  for length in lengths(setting):
    lines += [f"Maps at n = {length:,}, by layer:", ""]
    lines += [*_by_layer(setting, length), ""]
  every = sorted({r["point"]["length"] for r in setting.records})
  for length in every:
    rows = _stood_in(setting, length)
    if rows:
      lines += [f"Errors of stand-ins at n = {length:,}, by layer:", "", *rows]
      lines.append("")
  return "\n".join([*lines, *_NOTES, *setting.remarks, ""])


def _by_layer(setting: anatomy.Setting, length: int) -> list[str]:
  names = ("entropy", "effective_rank", "captured")
  columns = {
      name: [anatomy.mean(heads) for heads in of_maps(setting, length, name)]
      for name in names
  }
  streams, alike = residuals(setting, length), of_maps(setting, length, "alike")
  rows = []
  for layer in range(len(columns["entropy"])):
    cells = [anatomy.number(columns[name][layer]) for name in names]
    cells.append(anatomy.number(alike[layer]))
    cells += [anatomy.number(each[layer + 1]) for each in streams.values()]
    rows.append([str(layer), *cells])
  head = ["layer", "entropy", "effective rank", "captured", "CKA"]
  head += [f"residual, {name}" for name in streams]
  return medians.table(head, rows, words=1)


def _stood_in(setting: anatomy.Setting, length: int) -> list[str]:
  found = stand_ins(setting, length)
  if not found:
    return []
  rows = []
  for (name, budget), errors in found.items():
    heads = [x for layer in errors for x in layer]
    share = sum(x < LINEAR for x in heads)
    cells = [anatomy.number(anatomy.mean(layer)) for layer in errors]
    rows.append([name, budget, *cells, f"{share} of {len(heads)}"])
  layers = len(next(iter(found.values())))
  head = ["stand-in", "budget", *map(str, range(layers))]
  return medians.table([*head, f"heads below {LINEAR:g}"], rows, words=2)
