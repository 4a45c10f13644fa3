"""Tokens a second against the batch: what decoding many at once is worth.

A line is a mechanism at one context; a number is the batch over the seconds of
a step, the median over workers.
"""

import pathlib
import statistics
from typing import Any, Iterable, Mapping, NamedTuple

from lalm import store
from lalm import units
from lalm.report import laws
from lalm.report import medians
from lalm.report import results
from lalm.scaling import reading

EXPERIMENT = "decode_latency"
Record = Mapping[str, Any]


class Line(NamedTuple):
  """One mechanism at one context.

  Attributes:
    mechanism: its name.
    rates: batch -> tokens a second, one number a worker.
    state_bytes: of one sequence.
  """

  mechanism: str
  rates: dict[int, tuple[float, ...]]
  state_bytes: int


class Setting(NamedTuple):
  """What was measured where, its lines, and what was not."""

  heading: str
  lines: tuple[Line, ...]
  remarks: tuple[str, ...] = ()

  @property
  def batches(self) -> list[int]:
    """Those of any line, ascending."""
    return sorted(set().union(*(line.rates for line in self.lines)))


def settings(
    records: Iterable[Record], environment: Mapping[str, Any]
) -> list[Setting]:
  """Returns every context that was measured with several batches.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  steps = [
      record
      for record in records
      if (record.get("point") or {}).get("pass") == "step"
      and record.get("provenance") != laws.COMPILED  # which has no seconds
  ]
  found = []
  for own in medians.settings(steps, EXPERIMENT, ("mechanism", "batch")):
    heading, lines = _heading(own, environment), tuple(_lines(own))
    setting = Setting(heading, lines, tuple(_remarks(own)))
    if len(setting.batches) > 1:
      found.append(setting)
  return found


def _members(
    records: Iterable[Record],
) -> list[tuple[tuple[str, int], list[Record]]]:
  """The records of each mechanism and batch."""
  members: dict[tuple[str, int], list[Record]] = {}
  for record in records:
    point = record["point"]
    members.setdefault((point["mechanism"], point["batch"]), []).append(record)
  return sorted(members.items())


def _remarks(records: Iterable[Record]) -> Iterable[str]:
  for (name, batch), own in _members(records):
    if trouble := medians.trouble(own):
      yield f"{name}, B={batch}: {trouble}"


def _lines(records: Iterable[Record]) -> Iterable[Line]:
  """The lines of one setting, by name."""
  rates: dict[str, dict[int, tuple[float, ...]]] = {}
  sizes: dict[str, int] = {}
  for (name, batch), own in _members(records):
    found = list(reading.newest(own).values())
    if found:
      each = [batch / statistics.median(r["seconds"]) for r in found]
      rates.setdefault(name, {})[batch] = tuple(each)
      sizes[name] = found[-1]["state_bytes"] // batch
  for name, own_rates in rates.items():
    yield Line(name, own_rates, sizes[name])


def _heading(records: list[Record], environment: Mapping[str, Any]) -> str:
  point = records[0]["point"]
  place = medians.place(records, environment).replace(
      f"B={point['batch']}, ", ""
  )
  return (
      f"{place}, a context of {point['length']:,} tokens,"
      f" {point['tokens']} steps a scan; {medians.workers(records)}"
  )


def markdown(found: Iterable[Setting]) -> str:
  """Returns a table for each setting: tokens a second for each batch."""
  return "\n".join(_table(setting) for setting in found)


def _table(setting: Setting) -> str:
  head = ["mechanism", *(f"B={b}" for b in setting.batches), "a state"]
  rows = [
      [
          line.mechanism,
          *(_cell(line.rates.get(batch, ())) for batch in setting.batches),
          units.size(line.state_bytes),
      ]
      for line in setting.lines
  ]
  lines = [f"**{setting.heading}; tokens a second**", ""]
  notes = [f"- {remark}" for remark in setting.remarks]
  table = medians.table(head, rows, words=1)
  return "\n".join([*lines, *table, *([""] * bool(notes)), *notes, ""])


def _cell(each: tuple[float, ...]) -> str:
  return units.count(statistics.median(each)) if each else ""


def publish(folder: pathlib.Path) -> list[Setting]:
  """Writes `throughput.md` where several batches were measured; prints it.

  Args:
    folder: has `records.jsonl` and `environment.json`.
  """
  records = store.load(folder / "records.jsonl").records
  environment = results.environment(folder)
  found = settings(records, environment)
  if found:
    text = markdown(found)
    store.replace(folder / "throughput.md", text)
    print(text)
  return found
