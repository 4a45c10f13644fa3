"""The words under the figure: where it was measured, what its marks mean."""

from typing import Any, Mapping

from lalm.report import laws, layout, margins, panels, points
from lalm.report.results import Curve, Group


def text(group: Group, environment: Mapping[str, Any]) -> str:
  """Device, versions, setting, and what each mark means; only what is there."""
  heads = [laws.device(group, environment), laws.versions(group)]
  heads.append(laws.setting(group))
  sentences = ["; ".join(part for part in heads if part) + "."]
  if group.setting.get("provenance") == laws.COMPILED:
    sentences.append(laws.COMPILED_NOTE)
  sentences += _points_legend(group)
  fits = [
      fit for (_, _, q), fit in group.fits.items() if q in ("time", "memory")
  ]
  if any(margins.exponent_label(fit) for fit in fits):
    sentences.append(
        "Right of a panel: exponent of each law, ± the wider half of its 95 %"
        " interval."
    )
  if laws.equivalent(group):
    sentences.append(
        "Exponents and slopes of time are in the equivalent length, in which"
        " the closed-form count of operations is a pure power, or n log n."
    )
  drawn = [
      item
      for pass_ in group.passes()
      for quantity in ("time", "memory")
      for item in layout.crossed(group, pass_, quantity)
  ]
  if drawn:
    few = len(laws.crossovers(group)) < len(group.crossovers)
    which = " of laws of different orders" if few else ""
    sentences.append(f"Rings: crossovers n*{which}, with 95 % intervals.")
  if group.replicates():
    sentences.append("Grey: guide slopes.")
  statuses = {
      status
      for pass_ in group.passes()
      for _, found in failed(group, pass_)
      for status in found.values()
  }
  if statuses:
    keys = (
        f"{margins.LETTERS.get(status, '?')} {status.replace('_', ' ')}"
        for status in points.STATUSES
        if status in statuses
    )
    sentences.append(f"Letters, where a worker failed: {', '.join(keys)}.")
  return " ".join(sentences)


def _points_legend(group: Group) -> list[str]:
  spreads = {
      quantity: [
          spread
          for curve in group.curves
          for pass_ in group.passes()
          for spread in points.spreads(group, curve, pass_, quantity)
      ]
      for quantity in ("time", "memory")
  }
  shown = [s for found in spreads.values() for s in found]
  workers = group.replicates()
  if not shown:
    return ["No point was measured."]
  centre = f"median over {workers} workers (processes)"
  if group.setting.get("provenance") == laws.COMPILED:
    centre = "what the compiler says"
  elif workers == 1:
    centre = "one worker"
  found = [f"Points: {centre}"]
  bands = {s.fitted for s in shown if s.low < s.high}
  kinds = {True: "95 % intervals over workers", False: "range over workers"}
  if bands:
    names = " or ".join(kinds[kind] for kind in sorted(bands, reverse=True))
    found.append(f"bands: {names}")
  has_law = [
      panels.law_value(group.fits.get((c, p, q), {}), 1.0) is not None
      for c in group.curves
      for p in group.passes()
      for q in ("time", "memory")
      if points.spreads(group, c, p, q)
  ]
  if any(has_law):
    found.append("lines: fitted laws")
  if not all(has_law) and len(group.lengths()) > 1:
    found.append("dotted lines join points without a law")
  return ["; ".join(found) + "."]


def failed(group: Group, pass_: str) -> list[tuple[Curve, Mapping[int, str]]]:
  """The curves of a pass with points that are not ok: length -> status."""
  found = ((c, points.failures(group, c, pass_)) for c in group.curves)
  return [(curve, statuses) for curve, statuses in found if statuses]
