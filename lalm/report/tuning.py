"""`python3 -m lalm.report.tuning DIR/<device> ...`: the fastest chunks kept.

From results of `experiments.chunk_sizes`: for each form, platform, dtype and
width the shortest chunk that is near the least time, in the geometric mean over
mechanisms, passes and lengths. They replace those that
`lalm/attention/tuning.json` has of the same; a chunk that some curve has no
time of is none, and where a sweep was cut short before it had compared the
fastest with its neighbours nothing is taken.
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
    chunk: the one to take; None where too few were compared.
    times: chunk -> its time over the least, geometric mean over all curves.
    lacking: why none is taken, "" where one is.
  """

  form: str
  platform: str
  dtype: str
  width: int
  chunk: int | None
  times: dict[int, float]
  lacking: str = ""


_Whose = tuple[str, str, str, int]
_Curve = tuple[str, str, int]  # mechanism, pass, length


def choices(records: Iterable[Record]) -> list[Choice]:
  """Returns a choice for each form, platform, dtype and width that was swept.

  Args:
    records: of one device's folder; those of other experiments are left out.
  """
  groups: dict[_Whose, dict[_Curve, dict[int, list[Record]]]] = {}
  for own in _newest(records):
    point = own[0]["point"]
    form = FORMS.get(point["mechanism"])
    device = str(own[0].get("device"))
    if form is None or not point.get("chunk") or point["dtype"] not in _DTYPES:
      continue
    platform = _PLATFORMS.get(device, device)
    whose = (form, platform, point["dtype"], point["width"])
    curve = (point["mechanism"], point["pass"], point["length"])
    curves = groups.setdefault(whose, {})
    curves.setdefault(curve, {})[point["chunk"]] = own
  found = (_choice(whose, groups[whose]) for whose in sorted(groups))
  return [choice for choice in found if choice is not None]


def _newest(records: Iterable[Record]) -> list[list[Record]]:
  """Of each point its newest good records, a worker each, or its last ones."""
  points: dict[str, list[Record]] = {}
  for record in records:
    if record.get("experiment") == EXPERIMENT and "point" in record:
      name = json.dumps(record["point"], sort_keys=True)
      points.setdefault(name, []).append(record)
  return [
      list(reading.newest(own).values()) or list(reading.current(own))
      for own in points.values()
  ]


def _times(chunks: Mapping[int, Sequence[Record]]) -> dict[int, float]:
  """Chunk -> seconds in a curve, NaN where it failed; not what was not tried.

  They are the device's own where all that was timed has them: beside the host's
  part of a call a chunk makes little difference.
  """
  tried = {
      chunk: own
      for chunk, own in chunks.items()
      if any(record["status"] != "over_budget" for record in own)
  }
  wall, device = (
      {chunk: _median(map(value, own)) for chunk, own in tried.items()}
      for value in (_seconds, _device_seconds)
  )
  timed = [chunk for chunk in tried if not math.isnan(wall[chunk])]
  known = not any(math.isnan(device[chunk]) for chunk in timed)
  return device if known else wall


def _median(values: Iterable[float]) -> float:
  """Of several workers, of those that know it; NaN where none does."""
  found = [value for value in values if not math.isnan(value)]
  return statistics.median(found) if found else math.nan


def _seconds(record: Record) -> float:
  """What a call takes, measured or by its compiler; NaN where neither says."""
  if record.get("status") != "ok":
    return math.nan
  if record.get("provenance") == laws.COMPILED:
    estimate = record.get("estimate") or {}
    return reading.number(estimate.get("compiler_seconds"))
  return reading.quantity(record, "time")


def _device_seconds(record: Record) -> float:
  return reading.number((record.get("device_time") or {}).get("seconds"))


def _choice(
    whose: _Whose, curves: Mapping[_Curve, Mapping[int, Sequence[Record]]]
) -> Choice | None:
  """The shortest chunk that no other is clearly faster than.

  It is taken where it and the fastest were compared with their neighbours: one
  of those might be faster yet.
  """
  swept = sorted({chunk for chunks in curves.values() for chunk in chunks})
  timed = {curve: _times(chunks) for curve, chunks in curves.items()}
  for curve, times in tuple(timed.items()):
    if len(times) == len(swept) and not _finite(times):
      del timed[curve]  # it has failed throughout
  if not any(map(_finite, timed.values())):
    return None
  shares = _shares(list(timed.values()))
  if not shares or len(swept) < 2:
    return Choice(*whose, None, shares, _lacking(timed, swept))
  least = min(shares, key=lambda chunk: shares[chunk])
  limit = shares[least] * (1 + _SAME)
  chunk = min(c for c, share in shares.items() if share <= limit)
  first, last = swept.index(chunk), swept.index(least)
  beside = swept[max(first - 1, 0) : last + 2]
  if any(set(beside) - set(times) for times in timed.values()):
    return Choice(*whose, None, shares, _lacking(timed, beside))
  return Choice(*whose, chunk, shares)


def _finite(times: Mapping[int, float]) -> set[int]:
  """The chunks that have a time."""
  return {chunk for chunk, seconds in times.items() if math.isfinite(seconds)}


def _shares(curves: Sequence[Mapping[int, float]]) -> dict[int, float]:
  """Chunk -> time over the least, geometric mean over curves that all have."""
  known = sorted(set.intersection(*map(_finite, curves)))
  logs = {
      chunk: statistics.fmean(
          math.log(times[chunk] / min(times[c] for c in known))
          for times in curves
      )
      for chunk in known
  }
  return {chunk: math.exp(log) for chunk, log in logs.items()}


def _lacking(
    curves: Mapping[_Curve, Mapping[int, float]], chunks: Sequence[int]
) -> str:
  """Why chunks do not tell which is the fastest, by the first curve."""
  if len(chunks) < 2:
    return f"not enough: C = {chunks[0]} was compared with none"
  for (mechanism, pass_, length), times in curves.items():
    if absent := [str(c) for c in chunks if c not in times]:
      where = f"{mechanism} {laws.pass_name(pass_)} at {units.count(length)}"
      return f"not enough: {where} lacks C = {', '.join(absent)}"
  return "not enough: no chunk has a time in every curve"


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
          str(c.chunk or "not enough"),
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
  lacking = [f"- {line}" for line in undecided(found)]
  return "\n".join(
      [heading, "", *medians.table(head, rows, words=2), "", note, *lacking, ""]
  )


def undecided(found: Iterable[Choice]) -> list[str]:
  """Returns a line for each choice that is none: whose, and why."""
  return [
      f"{c.form} {c.dtype} of width {c.width}: {c.lacking}"
      for c in found
      if c.chunk is None
  ]


def merged(
    rows: Iterable[Mapping[str, Any]], found: Iterable[Choice], source: str
) -> list[dict[str, Any]]:
  """Returns a table's rows with the choices among them, in order.

  Args:
    rows: of the table so far.
    found: choices that replace or join them; one that is none does neither.
    source: the machine they are of, as it will stand in their rows.
  """
  names = ("form", "platform", "dtype", "width")
  table = {tuple(row[n] for n in names): dict(row) for row in rows}
  for choice in found:
    if choice.chunk is None:
      continue
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
    for line in undecided(found):
      print(f"tuning: {line}", file=sys.stderr)
    if all(choice.chunk is None for choice in found):
      print(f"tuning: {name} has no chunk to take", file=sys.stderr)
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
