"""Tables of training runs: what was reached, when, and at which cost."""

import math
import pathlib
import statistics
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

import numpy as np

from lalm import units
from lalm.report import build
from lalm.report import medians
from lalm.scaling import reading

EXPERIMENTS = ("copy_task", "train_lm")
PASSED = 0.1  # nats, below which copying counts as learnt
Record = Mapping[str, Any]
OWN = ("mechanism", "form", "rate")  # fields that a setting is not told by


class Learner(NamedTuple):
  """The runs of one mixer at one learning rate.

  Attributes:
    mechanism: its name.
    rate: the greatest learning rate.
    records: a finished run a seed.
    remark: which seeds have none, and why; "" where all have.
  """

  mechanism: str
  rate: float
  records: tuple[Record, ...]
  remark: str = ""

  def each(self, name: str) -> tuple[float, ...]:
    """Returns the last judgement of each seed, infinite if it diverged."""
    each = (record["judged"][-1][name] for record in self.records)
    return tuple(math.inf if x is None else x for x in each)

  def at(self, seconds: float, name: str) -> tuple[float, ...]:
    """Returns each seed's judgement after a time, between those around it."""
    found = []
    for record in self.records:
      times = [x["seconds"] for x in record["judged"]]
      values = [x[name] for x in record["judged"]]
      filled = [math.inf if x is None else x for x in values]
      found.append(float(np.interp(seconds, times, filled)))
    return tuple(found)

  @property
  def seconds(self) -> float:
    """Of training, the median over seeds."""
    return statistics.median(record["seconds"][0] for record in self.records)

  def passed(self) -> list[int | None]:
    """Returns the step at which each seed's loss is below `PASSED`."""
    return [
        next(
            (s for s, _, x in r["curve"] if x is not None and x < PASSED), None
        )
        for r in self.records
    ]


def publish(folder: pathlib.Path) -> None:
  """Writes the tables and figures of a device's folder.

  Args:
    folder: has `records.jsonl` and `environment.json`.
  """
  records, environment = medians.publish(folder, tables)
  settings = [
      (learners(own), name, _heading(own, environment))
      for name, own in _settings(records)
  ]
  drawn = [each for each in settings if any(one.records for one in each[0])]
  build.show(folder, "learning", "learning_figure", drawn)


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns a table for each setting, the newest of an experiment first.

  Args:
    records: of one device's folder.
    environment: of that folder.
  """
  return "\n".join(
      _markdown(own, name, environment)
      for name, own in _settings(list(records))
  )


def learners(records: Iterable[Record]) -> list[Learner]:
  """Returns the mixers of one setting, the least loss first."""
  members: dict[tuple[str, float], list[Record]] = {}
  for record in records:
    point = record["point"]
    whose = (point["mechanism"], point["rate"])
    members.setdefault(whose, []).append(record)
  found = []
  for (mechanism, rate), own in members.items():
    newest = tuple(reading.newest(own).values())
    found.append(Learner(mechanism, rate, newest, medians.trouble(own)))
  return sorted(found, key=_order)


def _order(one: Learner) -> tuple[float, str, float]:
  losses = one.each("loss")
  middle = statistics.median(losses) if losses else float("inf")
  return middle, one.mechanism, one.rate


def _settings(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
  return [
      (name, own)
      for name in EXPERIMENTS
      for own in medians.settings(records, name, OWN)
  ]


def _markdown(
    records: list[Record], name: str, environment: Mapping[str, Any]
) -> str:
  found = learners(records)
  head, cells = (_copying if name == "copy_task" else _language)(found)
  head = ["mixer", "rate", *head, "a step", "utilisation", "parameters"]
  rows = [
      [one.mechanism, f"{one.rate:g}", *own, *_costs(one)]
      for one, own in zip(found, cells, strict=True)
      if one.records
  ]
  notes = [
      f"- {x.mechanism}, {x.rate:g}: {x.remark}" for x in found if x.remark
  ]
  notes += [line for one in found for line in _skipped(one)]
  lines = medians.table(head, rows, words=1)
  heading = f"**{_heading(records, environment)}**"
  if name == "train_lm":
    notes = [*_AFTER, *notes, *_samples(found)]
  return "\n".join([heading, "", *lines, "", *_NOTES, *notes, ""])


def _skipped(one: Learner) -> list[str]:
  """Says of steps whose gradient was not finite, where there were some."""
  each = [(r["skipped"], r["calls"]) for r in one.records if r.get("skipped")]
  return [
      f"- {one.mechanism}, {one.rate:g}: {units.count(count)} of"
      f" {units.count(steps)} steps skipped, their gradients were not finite"
      for count, steps in each
  ]


_NOTES = (
    "- of several seeds the median and, of three or more, 95 % of the medians"
    " of seeds drawn anew",
    "- utilisation: three times the products of a forward pass, per second,"
    " over the rate of a large product in the same process",
)


_AFTER = (
    "- after the time of the quickest, along a line between two judgements: its"
    " schedule is then at its end, that of others is not",
)


def _copying(found: list[Learner]) -> tuple[list[str], list[list[str]]]:
  head = ["nats a symbol", "right", f"step below {PASSED:g} nats"]
  cells = []
  for one in found:
    accuracy = one.each("accuracy")
    right = units.share(statistics.median(accuracy)) if accuracy else ""
    cells.append([_cell(one.each("loss")), right, _passed(one)])
  return head, cells


def _language(found: list[Learner]) -> tuple[list[str], list[list[str]]]:
  name = "bits_per_byte"
  shortest = min((x.seconds for x in found if x.records), default=0.0)
  cells = [
      [_cell(x.each(name)), _cell(x.at(shortest, name)), _cell(x.each("loss"))]
      for x in found
  ]
  after = f"bits a byte after {units.seconds(shortest)}" if shortest else ""
  return ["bits a byte", after, "nats a token"], cells


def _samples(found: list[Learner]) -> list[str]:
  """What the first seed of each mixer goes on with, after a text held out."""
  lines = []
  for one in found:
    text = one.records[0].get("sample") if one.records else None
    if text:
      by = f"{one.mechanism}, {one.rate:g}"
      lines += ["", f"A text begun with some held out, by {by}:", ""]
      lines += [f"    {line}".rstrip() for line in text.splitlines()]
  return lines


def _passed(one: Learner) -> str:
  steps = one.passed()
  done = [step for step in steps if step is not None]
  if not done:
    return "never"
  if len(done) < len(steps):
    return (
        f"{units.count(statistics.median(done))} ({len(done)} of {len(steps)})"
    )
  middle = units.count(statistics.median(done))
  bounds = medians.interval([float(step) for step in done])
  if bounds is None:
    return f"{middle} ({units.counted(len(done), 'seed')})"
  return f"{middle} [{units.count(bounds[0])}, {units.count(bounds[1])}]"


def _cell(each: Sequence[float]) -> str:
  if not each:
    return ""
  middle, bounds = statistics.median(each), medians.interval(each)
  if bounds is None:
    return f"{middle:.3f} ({units.counted(len(each), 'seed')})"
  return f"{middle:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


def _costs(one: Learner) -> list[str]:
  seconds = [r["seconds"][0] / r["calls"] for r in one.records]
  shares = [r["utilisation"] for r in one.records if r["utilisation"]]
  return [
      units.seconds(statistics.median(seconds)),
      units.share(statistics.median(shares)) if shares else "",
      units.count(one.records[0]["parameters"]),
  ]


def _heading(records: list[Record], environment: Mapping[str, Any]) -> str:
  point = records[0]["point"]
  words = [
      medians.place(records, environment),
      units.counted(point["layers"], "layer"),
      f"n={point['length']}",
      units.counted(point["steps"], "step"),
  ]
  if "vocabulary" in point:
    words.append(f"a vocabulary of {units.count(point['vocabulary'])}")
  if "drop" in point:
    words.append(f"a tenth of the rate from {units.count(point['drop'])} on")
  return ", ".join(words)
