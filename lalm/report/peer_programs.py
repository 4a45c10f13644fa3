"""The table of libraries side by side where nothing ran: what compilers say.

A number in brackets is over this library's at the same work, pass and length:
above 1 the other one holds more, moves more or takes longer.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from lalm import units
from lalm.report import compiled
from lalm.report import laws
from lalm.report import medians
from lalm.report import peers
from lalm.scaling import reading

_HEAD = ("work", "library", "pass", "n", *compiled.HEADER[4:6], "roofline")
_FIELDS = (
    ("memory", "device_bytes", units.size),
    ("estimate", "traffic_bytes", units.size),
    ("estimate", "roofline_seconds", units.seconds),
)
_NOTES = (
    "of one device; in brackets over lalm's",
    "no roofline where a library's products are inside its own kernel",
)
Record = Mapping[str, Any]
Place = tuple[str, str, int]  # work, pass, length


def tables(
    records: Iterable[Record],
    environment: Mapping[str, Any],
    missing: Mapping[str, Mapping[str, str]],
) -> str:
  """Returns all tables as Markdown: those of the newest setting first.

  Args:
    records: of one machine's folder; those of other experiments are left out.
    environment: of that folder.
    missing: work -> libraries that cannot be compiled -> what they need.
  """
  name = environment.get("machine")
  return "\n".join(
      _table(own, f"libraries on one device of {name}", missing)
      for own in medians.settings(records, peers.EXPERIMENT, peers.SWEPT)
  )


def _table(
    records: list[Record], what: str, missing: Mapping[str, Mapping[str, str]]
) -> str:
  each: dict[Place, dict[str, list[Record]]] = {}
  for record in records:
    point = record["point"]
    place = (point["mechanism"], point["pass"], point["length"])
    libraries = each.setdefault(place, {})
    libraries.setdefault(point["form"], []).append(record)
  rows, notes = [], list(_NOTES)
  for place, libraries in sorted(each.items()):
    newest = {name: _newest(own) for name, own in libraries.items()}
    for name in sorted(newest, key=lambda name: (name != peers.OURS, name)):
      if trouble := medians.trouble(libraries[name]):
        where = f"{name}, {laws.pass_name(place[1])} at {place[2]:,}"
        notes.append(f"{place[0]}, {where}: {trouble}")
      else:
        rows.append(_row(place, name, newest))
  for work in sorted({place[0] for place in each}):
    for library, needs in missing.get(work, {}).items():
      notes.append(f"{work}, {library}: {peers.MISSING}{needs}")
  table = medians.table(_HEAD, rows, 3)
  listed = [f"- {note}" for note in notes]
  heading = compiled.heading(records, what)
  return "\n".join([f"**{heading}**", "", *table, "", *listed, ""])


def _newest(records: list[Record]) -> Record:
  found = reading.newest(records)
  return found[max(found)] if found else {}


def _row(place: Place, name: str, newest: Mapping[str, Record]) -> list[str]:
  work, pass_, length = place
  cells = []
  for group, field, shown in _FIELDS:
    value, ours = (
        (newest.get(library, {}).get(group) or {}).get(field)
        for library in (name, peers.OURS)
    )
    text = "" if value is None else shown(value)
    if value and ours and name != peers.OURS:
      text += f" ({value / ours:.3g})"
    cells.append(text)
  return [work, name, laws.pass_name(pass_), f"{length:,}", *cells]
