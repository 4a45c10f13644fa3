"""The tables of distances to softmax: of each approximation, a column a budget.

A number is the median over the draws of its workers; the theory of random
features stands in lines of its own.
"""

import statistics
from typing import Any, Callable, Iterable, Mapping, NamedTuple

from lalm import units
from lalm.report import medians
from lalm.scaling import reading

EXPERIMENT = "attention_error"
Record = Mapping[str, Any]
OWN = ("mechanism", "form", "budget", "sharpness")  # fields of a series


class Series(NamedTuple):
  """An approximation at one sharpness.

  Attributes:
    mechanism: its name.
    sharpness: what logits were multiplied by.
    records: budget -> what its workers have measured.
    remarks: budget -> which workers did not measure it, and why.
  """

  mechanism: str
  sharpness: float
  records: dict[int, list[Record]]
  remarks: dict[int, str]

  def median(self, read: Callable[[Record], Any]) -> dict[int, float]:
    """Budget -> median over workers of a number; those without are left out.

    Args:
      read: from a record to the number, or None.
    """
    numbers = {
        budget: [units.number(read(record)) for record in found]
        for budget, found in self.records.items()
    }
    known = {b: [x for x in all if x is not None] for b, all in numbers.items()}
    return {b: statistics.median(all) for b, all in known.items() if all}


def relative(record: Record) -> Any:
  """The distance of all rows."""
  return record["distance"]["relative"]


def theory(name: str) -> Callable[[Record], Any]:
  """Reads what theory expects of the `output` or of the `kernel`."""
  return lambda record: (record.get("theory") or {}).get(name)


def series(records: Iterable[Record]) -> list[Series]:
  """Returns the series of one setting, by sharpness and then by name.

  Args:
    records: of one setting on one device.
  """
  members: dict[tuple[float, str], dict[int, list[Record]]] = {}
  for record in records:
    point = record["point"]
    whose = members.setdefault((point["sharpness"], point["mechanism"]), {})
    whose.setdefault(point["budget"], []).append(record)
  found = []
  for (sharpness, mechanism), budgets in sorted(members.items()):
    own: dict[int, list[Record]] = {}
    remarks = {}
    for budget in sorted(budgets):
      newest = list(reading.newest(budgets[budget]).values())
      if newest:
        own[budget] = newest
      if remark := medians.trouble(budgets[budget]):
        remarks[budget] = remark
    found.append(Series(mechanism, sharpness, own, remarks))
  return found


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns a table for each setting as Markdown, the newest first.

  Args:
    records: of one device's folder; those of other experiments are left out.
    environment: of that folder.
  """
  return "\n".join(
      _markdown(own, environment)
      for own in medians.settings(records, EXPERIMENT, OWN)
  )


def _markdown(records: list[Record], environment: Mapping[str, Any]) -> str:
  found = series(records)
  budgets = sorted({b for s in found for b in (*s.records, *s.remarks)})
  rows = [row for one in found for row in _rows(one, budgets)]
  head = ["approximation", "what", "logits", "mean", *map(budget_name, budgets)]
  notes: dict[str, list[str]] = {}
  for one in found:
    for budget, remark in one.remarks.items():
      name = f"{one.mechanism}, budget {budget}"
      each = notes.setdefault(f"{name}, logits {{}}: {remark}", [])
      each.append(f"{one.sharpness:g} x")
  point = records[0]["point"]
  heading = (
      f"**{medians.place(records, environment)}, n={point['length']},"
      f" {'causal' if point['causal'] else 'full'}; relative distance to"
      " softmax in float64 for each budget (features, rows, landmarks, tokens),"
      f" medians over draws, of {medians.workers(records)}**"
  )
  return "\n".join(
      [heading, "", *medians.table(head, rows, words=2), "", *_NOTES]
      + [f"- {n.replace('{}', ', '.join(x), 1)}" for n, x in notes.items()]
      + [""]
  )


_NOTES = (
    "- logits: what those of the text, of deviation 1 about, are multiplied by",
    "- mean: the distance of the mean of the values, all weights alike",
    "- theory, output: to first order, for independent features; no prediction"
    " where it is not small",
    "- theory, kernel: exact (root mean square, which rare draws decide); of"
    " `performer`, at right angles, an upper bound",
)


def _rows(one: Series, budgets: list[int]) -> list[list[str]]:
  """Lines of a table: the distance, what theory says, the kernel's."""
  lines = [
      ("distance", one.median(relative)),
      ("theory, output", one.median(theory("output"))),
      ("kernel", one.median(lambda record: record.get("kernel"))),
      ("theory, kernel", one.median(theory("kernel"))),
  ]
  means = [*one.median(lambda record: record["mean"]).values(), None]
  rows = []
  for what, found in lines:
    if found:
      mean = _number(means[0] if what == "distance" else None)
      numbers = [_number(found.get(budget)) for budget in budgets]
      rows.append([one.mechanism, what, f"{one.sharpness:g}", mean, *numbers])
  return rows


def budget_name(budget: int) -> str:
  """`64`; `its own` for 0."""
  return str(budget) if budget else "its own"


def _number(value: float | None) -> str:
  return "" if value is None else f"{value:.2g}"
