"""Training steps: laws as of attention, tokens per second, ratios of time."""

import pathlib
import statistics
from typing import Any, Iterable, Mapping

from lalm import store
from lalm import units
from lalm.report import build
from lalm.report import medians
from lalm.report import peers
from lalm.report import tables
from lalm.scaling import reading

EXPERIMENT = "training_time"
Record = Mapping[str, Any]
_SWEPT = ("mechanism", "form", "length")
_NOTES = (
    "- a call: loss, gradient, clipping and AdamW; plain: by hand in JAX,"
    " softmax as a whole matrix, linear attention in chunks of 128 tokens;"
    " torch: with its fused attention; lalm: each mixer's own form and chunk",
)


def publish(folder: pathlib.Path) -> None:
  """Writes laws, figure and ratios of a device's folder; prints the tables.

  Args:
    folder: has `records.jsonl` and `environment.json`.
  """
  built = build.rebuild(folder)
  print(tables.text(built.results))
  found = built.results
  records = store.load(folder / "records.jsonl").records
  text = ratios(records, found.environment)
  store.replace(folder / "ratios.md", text)
  print(text)
  print(built.problem or f"figure: {folder / 'figures' / 'scaling.svg'}")


def ratios(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns tokens per second, and ratios of time to models written otherwise.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  each = medians.settings(records, EXPERIMENT, _SWEPT)
  return "\n".join(_text(own, environment) for own in each)


def _text(records: list[Record], environment: Mapping[str, Any]) -> str:
  point = records[0]["point"]
  heading = (
      f"{peers.heading(records, environment)};"
      f" {units.counted(point['layers'], 'layer')}, a vocabulary of"
      f" {units.count(point['vocabulary'])}"
  )
  table = peers.markdown(peers.ratios(records, {}), heading)
  rates = ["Tokens a second, by length:", "", *_rates(records)]
  return "\n".join([table, *rates, *_NOTES, ""])


def _rates(records: list[Record]) -> list[str]:
  """Lines of the table: a model and the way it is written, by length."""
  found: dict[tuple[str, str], dict[int, list[Record]]] = {}
  for record in records:
    point = record["point"]
    curve = found.setdefault((point["mechanism"], point["form"]), {})
    curve.setdefault(point["length"], []).append(record)
  lengths = sorted({length for curve in found.values() for length in curve})
  rows = [
      [*name, *(_rate(curve.get(length, [])) for length in lengths)]
      for name, curve in found.items()
  ]
  head = ["mixer", "written", *map(units.count, lengths)]
  return [*medians.table(head, rows, words=2), ""]


def _rate(records: list[Record]) -> str:
  newest = reading.newest(records).values()
  seconds = [statistics.median(record["seconds"]) for record in newest]
  if not seconds:
    return ""
  point = records[0]["point"]
  tokens = point["batch"] * point["length"]
  return units.count(tokens / statistics.median(seconds))
