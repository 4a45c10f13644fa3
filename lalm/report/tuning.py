"""`python3 -m lalm.report.tuning DIR/<device> ...`: the fastest chunks kept.

From results of `experiments.chunk_sizes`: for each form, platform, dtype and
width the shortest chunk that is near the least time, in the geometric mean over
mechanisms, passes and lengths. They replace those that
`lalm/attention/tuning.json` has of the same; a chunk that some curve has no
time of is none.
"""

import json
import math
import pathlib
import statistics
import sys
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

import lalm
from lalm import store
from lalm import units
from lalm.report import laws
from lalm.report import medians
from lalm.report import results
from lalm.scaling import reading

EXPERIMENT = "chunk_sizes"
TABLE = pathlib.Path(lalm.__file__).with_name("attention") / "tuning.json"
Record = Mapping[str, Any]

# Whose chunks they are: what computes a mechanism, as `tuning` names it.
FORMS = {
    "softmax": "softmax.blockwise",
    "linear": "linear.chunkwise",
    "mamba2": "gated.chunkwise",
    "gla": "gated.chunkwise",
    "deltanet": "delta.chunkwise",
    "gated_deltanet": "delta.chunkwise",
    "kda": "delta.chunkwise",
    "rwkv7": "dplr.chunkwise",
    "mlstm": "mlstm.chunkwise",
    "window": "window.chunkwise",
    "loglinear": "hierarchical.chunkwise",
    "lsh": "local.chunkwise",
}
# Other dtypes have the sizes of the one with as many bits, or the most.
_DTYPES = ("bfloat16", "float32")
_PLATFORMS = {"gpu": "cuda"}  # a backend of JAX -> as XLA calls it
# Share of its time that a longer chunk must gain over a shorter one: programs
# of long chunks take several times as long to compile.
_SAME = 0.25


class Choice(NamedTuple):
  """A size for the table.

  Attributes:
    form: `module.function`.
    platform: of XLA.
    dtype: of the inputs.
    width: K.
    chunk: the one to take.
    times: chunk -> its time over the least, geometric mean over all curves.
  """

  form: str
  platform: str
  dtype: str
  width: int
  chunk: int
  times: dict[int, float]


def choices(records: Iterable[Record]) -> list[Choice]:
  """Returns a choice for each form, platform, dtype and width that was swept.

  Args:
    records: of one device's folder; those of other experiments are left out.
  """
  groups: dict[tuple[str, str, str, int], dict[tuple, dict[int, float]]] = {}
  for record in _newest(records):
    point = record["point"]
    form = FORMS.get(point["mechanism"])
    device = str(record.get("device"))
    if form is None or not point.get("chunk") or point["dtype"] not in _DTYPES:
      continue
    platform = _PLATFORMS.get(device, device)
    whose = (form, platform, point["dtype"], point["width"])
    curve = (point["mechanism"], point["pass"], point["length"])
    curves = groups.setdefault(whose, {})
    times = curves.setdefault(curve, {})
    times[point["chunk"]] = _seconds(record)
  found = (_choice(whose, groups[whose]) for whose in sorted(groups))
  return [choice for choice in found if choice is not None]


def _newest(records: Iterable[Record]) -> list[Record]:
  """Of each point one record: its last good one, or its last."""
  points: dict[str, list[Record]] = {}
  for record in records:
    if record.get("experiment") == EXPERIMENT and "point" in record:
      name = json.dumps(record["point"], sort_keys=True)
      points.setdefault(name, []).append(record)
  found: list[Record] = []
  for own in points.values():
    good = list(reading.newest(own).values())
    if len(good) > 1:  # of several workers the median
      middle = statistics.median(_seconds(r) for r in good)
      found.append({**good[0], "seconds": [middle]})
    else:
      found.append((good or reading.current(own))[-1])
  return found


def _seconds(record: Record) -> float:
  """What a call takes, measured or by its compiler; NaN where neither says."""
  if record.get("status") != "ok":
    return math.nan
  if record.get("provenance") == laws.COMPILED:
    estimate = record.get("estimate") or {}
    return reading.number(estimate.get("compiler_seconds"))
  return reading.quantity(record, "time")


def _choice(
    whose: tuple[str, str, str, int],
    curves: Mapping[tuple, Mapping[int, float]],
) -> Choice | None:
  """The shortest chunk that no other is clearly faster than."""
  timed = [
      {c: s for c, s in times.items() if s == s} for times in curves.values()
  ]
  timed = [times for times in timed if times]  # a curve may have none at all
  known = set.intersection(*map(set, timed)) if timed else set()
  if not known:
    return None
  logs = {
      chunk: statistics.fmean(
          math.log(times[chunk] / min(times[c] for c in known))
          for times in timed
      )
      for chunk in sorted(known)
  }
  times = {chunk: math.exp(log) for chunk, log in logs.items()}
  limit = min(times.values()) * (1 + _SAME)
  chunk = min(chunk for chunk, time in times.items() if time <= limit)
  return Choice(*whose, chunk, times)


def tables(records: Iterable[Record], environment: Mapping[str, Any]) -> str:
  """Returns the times of all chunks beside the fastest, as Markdown.

  Args:
    records: of one device's folder; those of other experiments are left out.
    environment: of that folder.
  """
  own = [r for r in records if r.get("experiment") == EXPERIMENT]
  found = choices(own)
  if not found:
    return "No chunk has a time: " + (medians.trouble(own) or "none was tried")
  chunks = sorted({chunk for choice in found for chunk in choice.times})
  head = ["form", "dtype", "width", "taken", *(f"C = {c}" for c in chunks)]
  rows = [
      [
          c.form,
          c.dtype,
          str(c.width),
          str(c.chunk),
          *(f"{c.times[n]:.2f}" if n in c.times else "" for n in chunks),
      ]
      for c in found
  ]
  compiled = environment.get("provenance") == laws.COMPILED
  what = "compiled, not run: the compiler's cycles" if compiled else "measured"
  heading = f"**{environment.get('slug', 'device')}, {what}**"
  note = (
      "- Time over that of the fastest chunk, geometric mean over mechanisms,"
      " passes and lengths; taken is the shortest within"
      f" {units.share(_SAME)} of the least"
  )
  return "\n".join(
      [heading, "", *medians.table(head, rows, words=2), "", note, ""]
  )


def merged(
    rows: Iterable[Mapping[str, Any]], found: Iterable[Choice], source: str
) -> list[dict[str, Any]]:
  """Returns a table's rows with the choices among them, in order.

  Args:
    rows: of the table so far.
    found: choices that replace or join them.
    source: the machine they are of, as it will stand in their rows.
  """
  names = ("form", "platform", "dtype", "width")
  table = {tuple(row[n] for n in names): dict(row) for row in rows}
  for choice in found:
    row = {name: getattr(choice, name) for name in (*names, "chunk")}
    table[tuple(row[n] for n in names)] = {**row, "source": source}
  return [table[key] for key in sorted(table)]


def main(arguments: Sequence[str]) -> int:
  """Writes the table; the exit status, 2 where a folder has no choices."""
  rows = json.loads(TABLE.read_text(encoding="utf-8"))
  if not arguments:
    print("tuning: expected DIR/<device> of results, got none", file=sys.stderr)
    return 2
  for name in arguments:
    folder = pathlib.Path(name)
    try:
      records = store.load(folder / "records.jsonl").records
    except OSError as error:
      print(f"tuning: {error}", file=sys.stderr)
      return 2
    found = choices(records)
    if not found:
      print(f"tuning: {name} has no times of chunks", file=sys.stderr)
      return 2
    environment = results.environment(folder)
    how = "measured on"
    if environment.get("provenance") == laws.COMPILED:
      how = "compiled for"
    rows = merged(rows, found, f"{how} {environment.get('slug', folder.name)}")
  lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
  store.replace(TABLE, f"[\n{lines}\n]\n")
  print(f"{len(rows)} sizes in {TABLE}")
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
