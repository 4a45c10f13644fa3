"""What a table says, before it is rendered: rows, notes, troubles, heading."""

import pathlib
import textwrap
from typing import Any, Mapping, NamedTuple

from lalm import units
from lalm.report import points
from lalm.report.results import Curve, Group, Results
from lalm.scaling import reading

PASS_NAMES = {"forward": "forward", "forward_backward": "forward+backward"}
_REASON_WIDTH = 100  # characters of a reason
_EQUIVALENT = (
    "Exponents of time and operations of a causal form are in the equivalent"
    " length, in which its closed-form count of operations is a pure power, or"
    " n log n."
)
_CEILING = (
    "Share of ceiling: closed-form products (2mnk) per second over the"
    " matrix-product rate measured by the same workers, at the largest length."
)
_SAME_ORDER = (
    "Crossovers are named of laws whose exponents differ by more than a half;"
    " crossovers.json has them all."
)
COMPILED = "compiled"  # provenance of what was not run
COMPILED_NOTE = (
    "Compiled, not run: times are rooflines, the longest of products, traffic"
    " and communication at the published peaks of the devices."
)
_QUANTITIES = {"flops": "operations"}
_PAIRS = 6  # pairs that do not cross are named up to so many
# Of more curves than _MANY, crossovers are named where exponents differ by more
# than _APART: laws of one order cross wherever their constants happen to.
_MANY, _APART = 8, 0.5


class Row(NamedTuple):
  """The laws of one curve in one pass."""

  curve: Curve
  pass_: str
  laws: dict[str, dict]  # quantity -> the object of fits.json
  largest: points.Spread | None  # seconds at the largest length measured
  share: float | None  # of the measured product rate, at that length


class Failed(NamedTuple):
  """Points of one curve and pass that ended alike."""

  curve: Curve
  pass_: str
  status: str
  lengths: tuple[int, ...]
  records: int  # how many ended so
  reason: str  # of the smallest length


def rows(group: Group) -> list[Row]:
  """The rows of one group, in the order of its curves, forward first."""
  asked = {(curve, pass_) for curve, pass_, _ in group.points}
  return [
      _row(group, curve, pass_)
      for curve in group.curves
      for pass_ in group.passes()
      if (curve, pass_) in asked
  ]


def failed(group: Group) -> list[Failed]:
  """Every ending that was not ok: what, where, why."""
  found: dict[tuple[Curve, str, str], list[Mapping]] = {}
  for (curve, pass_, _), records in group.points.items():
    for record in records:
      if record["status"] != "ok":
        found.setdefault((curve, pass_, record["status"]), []).append(record)
  listed = []
  for curve in group.curves:
    for pass_ in group.passes():
      statuses = {s for c, p, s in found if (c, p) == (curve, pass_)}
      for status in sorted(statuses):
        listed.append(
            _failed(curve, pass_, status, found[curve, pass_, status])
        )
  return listed


def notes(group: Group) -> list[str]:
  """Lines below a table: what words mean, crossovers, what did not end well."""
  found = rows(group)
  compiled = group.setting.get("provenance") == COMPILED
  lines = [COMPILED_NOTE] * compiled + [_EQUIVALENT] * equivalent(group)
  if any(row.share is not None for row in found):
    lines.append(_CEILING)
  for row in found:
    law = row.laws["time"]
    if law.get("reason"):
      name = f"{row.curve.name} {pass_name(row.pass_)}"
      lines.append(f"{law.get('verdict')}: {name}: {law['reason']}")
  return lines + crossings(group) + [ending(item) for item in failed(group)]


def equivalent(group: Group) -> bool:
  """Whether some exponent of time is not one in n itself."""
  return any(
      quantity == "time" and fit.get("against") == "closed form"
      for (_, _, quantity), fit in group.fits.items()
  )


def crossovers(group: Group) -> list[Mapping]:
  """The crossovers to name: all, or those but of laws of one order."""
  if len(group.curves) <= _MANY:
    return list(group.crossovers)
  orders: dict[Any, float | None] = {
      (curve.name, pass_, quantity): units.number(fit.get("exponent"))
      for (curve, pass_, quantity), fit in group.fits.items()
  }

  def apart(item: Mapping) -> bool:
    which = item.get("pass"), item.get("quantity")
    one = orders.get((short(item.get("a")), *which))
    other = orders.get((short(item.get("b")), *which))
    return one is None or other is None or abs(one - other) > _APART

  return [item for item in group.crossovers if apart(item)]


def crossings(group: Group) -> list[str]:
  """The crossovers in words, and which pairs have none."""
  lines: list[str] = []
  found = crossovers(group)
  if len(found) < len(group.crossovers):
    lines.append(_SAME_ORDER)
  apart: dict[str, set[str]] = {}
  for item in sorted(found, key=_importance):
    quantity = _QUANTITIES.get(item.get("quantity", ""), item.get("quantity"))
    what = f"{quantity}, {pass_name(item.get('pass'))}"
    one, other = short(item.get("a")), short(item.get("b"))
    places = crossing_lengths(item)
    if places:
      where = " and ".join(length_text(*place) for place in places)
      lines.append(
          f"{what}: {one} and {other} cross at n = {where}; {other} is the"
          " smaller above"
      )
    else:
      apart.setdefault(what, set()).add(" and ".join(sorted((one, other))))
  return lines + _without_crossing(apart)


def _importance(item: Mapping) -> tuple[int, str]:
  """Time first, then the others in the order of the fits; forward first."""
  quantity = item.get("quantity")
  known = quantity in reading.QUANTITIES
  last = len(reading.QUANTITIES)
  rank = reading.QUANTITIES.index(quantity) if known else last
  return rank, str(item.get("pass"))


def _without_crossing(apart: Mapping[str, set[str]]) -> list[str]:
  """A line for each set of pairs; quantities that share it stand together."""
  sharing: dict[tuple[str, ...], list[str]] = {}
  for what in apart:
    sharing.setdefault(tuple(sorted(apart[what])), []).append(what)
  lines = []
  for pairs, which in sharing.items():
    listed = ", ".join(pairs[:_PAIRS])
    if len(pairs) > _PAIRS:
      listed += f" and {len(pairs) - _PAIRS} more pairs"
    lines.append(
        f"no crossover in the measured range, {'; '.join(which)}: {listed}"
        " (crossovers.json says why)"
    )
  return lines


def crossing_lengths(
    item: Mapping,
) -> list[tuple[float, tuple[float, float] | None]]:
  """(length, interval) of each crossing of a pair, ascending."""
  stated = item.get("crossings")
  crossed = stated if isinstance(stated, list) and stated else [item]
  found = []
  for crossing in crossed:
    length = units.number(crossing.get("length"))
    if length is not None:
      found.append((length, units.interval(crossing.get("length_ci"))))
  return found


def length_text(length: float, bounds: tuple[float, float] | None) -> str:
  """`739 [665, 828]`."""
  if bounds is None:
    return units.count(length)
  low, high = map(units.count, bounds)
  return f"{units.count(length)} [{low}, {high}]"


def ending(item: Failed) -> str:
  """A failure in words: status, curve, pass, lengths, reason."""
  where = ", ".join(units.count(length) for length in item.lengths)
  lines = "1 record" if item.records == 1 else f"{item.records} records"
  text = (
      f"{item.status}: {item.curve.name} {pass_name(item.pass_)}"
      f" at n = {where} ({lines})"
  )
  return f"{text}: {item.reason}" if item.reason else text


def troubles(results: Results) -> list[str]:
  """What of the folder could not be read: damaged lines, side files."""
  lines = [
      f"records.jsonl: line {d.line} (byte {d.offset}) dropped: {d.reason}"
      for d in results.damage
  ]
  lines += [f"not read: {line}" for line in results.unreadable]
  return lines if results.groups else [*lines, "no records"]


def heading(group: Group, results: Results) -> str:
  """Device, versions, setting and number of workers in one line."""
  parts = [device(group, results.environment), versions(group), setting(group)]
  if group.setting.get("provenance") == COMPILED:
    parts.append("compiled, not run")
  else:
    parts.append(units.counted(group.replicates(), "worker"))
  return "; ".join(part for part in parts if part)


def device(group: Group, environment: Mapping) -> str:
  """The device's name as far as the environment tells, and the machine."""
  name = str(group.setting.get("device", "device unknown"))
  machine = group.setting.get("machine")
  if group.setting.get("provenance") == COMPILED:
    count = environment.get("device_count")
    return (
        f"{machine}, {units.counted(count, 'device')}"
        if count
        else str(machine)
    )
  if machine == environment.get("machine", machine):
    kind = environment.get("device_kind")
    model = environment.get("model")
    cores = environment.get("cores")
    known = [str(part) for part in (kind, model) if part and part != name]
    if cores:
      known.append(f"{cores} cores")
    name = f"{name} ({', '.join(dict.fromkeys(known))})" if known else name
  return f"{name}, machine {machine}" if machine else name


def versions(group: Group) -> str:
  """`python 3.11.7, jax 0.10.2, ...`, in the order of the record."""
  found = group.setting.get("versions")
  if not isinstance(found, Mapping):
    return ""
  return ", ".join(f"{name} {version}" for name, version in found.items())


def setting(group: Group) -> str:
  """`float32, B = 1, H = 8, d = 64, causal`."""
  known = group.setting
  parts = [str(known["dtype"])] if known.get("dtype") else []
  for name, symbol in (("batch", "B"), ("heads", "H"), ("width", "d")):
    if name in known:
      parts.append(f"{symbol} = {known[name]}")
  if known.get("value_width", known.get("width")) != known.get("width"):
    parts.append(f"d_v = {known['value_width']}")
  if "causal" in known:
    parts.append("causal" if known["causal"] else "not causal")
  if "tokens" in known:
    parts.append(f"{known['tokens']} steps a scan")
  if "vocabulary" in known:
    parts.append(units.counted(known["layers"], "layer"))
    parts.append(f"random tokens of {units.count(known['vocabulary'])}")
  elif "corpus" in known and known.get("provenance") != COMPILED:
    parts.append(f"inputs from {corpus(known['corpus'])}")
  if known.get("seed"):
    parts.append(f"seed {known['seed']}")
  return ", ".join(parts)


def corpus(name: Any) -> str:
  """What the inputs were made of, without the folders of a path."""
  if not name:
    return "the standard library's sources"
  return "a normal law" if name == "normal" else pathlib.Path(str(name)).name


def pass_name(pass_: Any) -> str:
  """`forward+backward` for `forward_backward`."""
  return PASS_NAMES.get(pass_, str(pass_))


def short(name: Any) -> str:
  """`NAME.form` for `package.module:NAME.form`."""
  return str(name).rpartition(":")[2]


def _row(group: Group, curve: Curve, pass_: str) -> Row:
  laws = {q: group.fits.get((curve, pass_, q), {}) for q in reading.QUANTITIES}
  measured_points = points.spreads(group, curve, pass_, "time")
  largest = measured_points[-1] if measured_points else None
  share = units.number(laws["time"].get("share_of_ceiling"))
  return Row(curve, pass_, laws, largest, share)


def _failed(
    curve: Curve, pass_: str, status: str, records: list[Mapping]
) -> Failed:
  ordered = sorted(
      records, key=lambda r: (r["point"]["length"], r.get("replicate", 0))
  )
  lengths = dict.fromkeys(record["point"]["length"] for record in ordered)
  reasons = list(dict.fromkeys(_reason(record) for record in ordered))
  reason = reasons[0]
  if len(reasons) > 1:
    reason += f" ({len(reasons) - 1} more reasons in records.jsonl)"
  return Failed(curve, pass_, status, tuple(lengths), len(records), reason)


def _reason(record: Mapping) -> str:
  text = " ".join(str(record.get("reason") or "").split())
  return textwrap.shorten(text, _REASON_WIDTH, placeholder=" ...")
