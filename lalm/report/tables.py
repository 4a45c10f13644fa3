"""The law table as Markdown, CSV, LaTeX and text for a terminal.

One row for each curve and pass: the exponent of time with its interval, the
verdict, the time at the largest length measured, the share of the measured
ceiling, the laws of memory and of operations. Crossovers stand below it, then
every point that did not end well, then the damage of the store. CSV holds the
rows alone, with numbers unrounded; crossovers.json has the crossovers.
"""

import csv
import io
import re
import unicodedata
from typing import Any, Iterable, Sequence

from lalm import units
from lalm.report import accelerators
from lalm.report import compiled
from lalm.report import laws
from lalm.report.laws import Row
from lalm.report.results import Group, Results

_HEADER = (
    "form",
    "pass",
    "time n^",
    "verdict",
    "time at n",
    "share of ceiling",
    "memory n^",
    "operations n^",
)
_LATEX_HEADER: tuple[str, ...] = (
    "form",
    "pass",
    "time $n^\\alpha$",
    "verdict",
    "time at $n$",
    "of ceiling",
    "memory $n^\\alpha$",
    "operations $n^\\alpha$",
)
_QUANTITIES = ("time", "memory", "flops", "compile")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "[": "{[}",  # after \\ a bare [ would begin an argument
}


def markdown(results: Results) -> str:
  """The table as GitHub Markdown."""
  blocks = []
  for group in results.groups:
    blocks.append(f"**{_plain_markdown(laws.heading(group, results))}**")
    head = _header(group)
    lines = [head, ["---"] * len(head), *map(_cells, laws.rows(group))]
    blocks.append("\n".join(_markdown_line(line) for line in lines))
    blocks.append(_bullets(laws.notes(group)))
    for more in (compiled, accelerators):
      if more.tells(group):
        head = more.HEADER
        lines = [head, ["---"] * len(head), *more.rows(group)]
        blocks.append("\n".join(_markdown_line(line) for line in lines))
        blocks.append(_bullets(more.NOTES))
  blocks.append(_bullets(laws.troubles(results)))
  return "\n\n".join(block for block in blocks if block) + "\n"


def _header(group: Group) -> tuple[str, ...]:
  """The heads of columns; of what was compiled, times are rooflines."""
  if not compiled.tells(group):
    return _HEADER
  return tuple(head.replace("time", "roofline") for head in _HEADER)


def text(results: Results) -> str:
  """The table for a terminal: aligned columns, ASCII only."""
  blocks = []
  for group in results.groups:
    blocks.append(laws.heading(group, results))
    blocks.append(_aligned([_header(group), *map(_cells, laws.rows(group))]))
    blocks.append("\n".join(laws.notes(group)))
  blocks.append("\n".join(laws.troubles(results)))
  return _ascii("\n\n".join(block for block in blocks if block)) + "\n"


def comma_separated(results: Results) -> str:
  """The rows as CSV, a column for each number; empty where it is unknown."""
  lines = [
      _numbers(group, row)
      for group in results.groups
      for row in laws.rows(group)
  ]
  stream = io.StringIO(newline="")
  writer = csv.DictWriter(
      stream, list(lines[0]) if lines else [], lineterminator="\n"
  )
  if lines:
    writer.writeheader()
  writer.writerows(lines)
  return stream.getvalue()


def latex(results: Results) -> str:
  r"""A fragment to \input: tabulars of plain LaTeX that need no package."""
  blocks = ["% Written by python3 -m lalm.report; needs no package."]
  for group in results.groups:
    blocks.append(_latex_text(laws.heading(group, results)))
    blocks += [r"\begin{tabular}{llllrrll}", r"\hline"]
    head = _LATEX_HEADER
    if compiled.tells(group):
      head = tuple(cell.replace("time", "roofline") for cell in head)
    blocks += [_latex_line(head), r"\hline"]
    for row in laws.rows(group):
      blocks.append(_latex_line(escape_latex(cell) for cell in _cells(row)))
    blocks += [r"\hline", r"\end{tabular}"]
    blocks += map(_latex_text, laws.notes(group))
  blocks += map(_latex_text, laws.troubles(results))
  return (
      "\n".join(["{\\small\\setlength{\\tabcolsep}{3pt}", *blocks, "}"]) + "\n"
  )


def escape_latex(words: str) -> str:
  """Text that LaTeX prints as it stands; letters it lacks lose their marks."""
  return "".join(_LATEX.get(letter, letter) for letter in _ascii(words))


def _cells(row: Row) -> list[str]:
  found = row.laws
  at = units.MISSING
  if row.largest is not None:
    time = units.seconds(row.largest.centre)
    at = f"{time} at {units.count(row.largest.length)}"
  memory, flops = found["memory"], found["flops"]
  return [
      row.curve.name,
      laws.pass_name(row.pass_),
      units.exponent(
          found["time"].get("exponent"), found["time"].get("exponent_ci")
      ),
      str(found["time"].get("verdict") or units.MISSING),
      at,
      units.share(row.share),
      units.exponent(memory.get("exponent"), memory.get("exponent_ci")),
      units.exponent(flops.get("exponent")),
  ]


def _numbers(group: Group, row: Row) -> dict[str, Any]:
  """A row with every number in its own column."""
  known = {n: v for n, v in group.setting.items() if n != "versions"}
  record: dict[str, Any] = {
      "mechanism": row.curve.mechanism,
      "form": row.curve.form,
      "chunk": row.curve.chunk,
      "pass": row.pass_,
  }
  for name in (
      "device", "machine", "provenance", "dtype", "causal", "batch", "heads",
      "width", "value_width",
  ):  # fmt: skip
    record[name] = known.get(name)
  largest = row.largest
  record["length"] = largest.length if largest else None
  record["seconds"] = largest.centre if largest else None
  record["seconds_low"] = largest.low if largest else None
  record["seconds_high"] = largest.high if largest else None
  record["share_of_ceiling"] = row.share
  for quantity in _QUANTITIES:
    law = row.laws[quantity]
    bounds = units.interval(law.get("exponent_ci")) or (None, None)
    record[f"{quantity}_exponent"] = units.number(law.get("exponent"))
    record[f"{quantity}_exponent_low"] = bounds[0]
    record[f"{quantity}_exponent_high"] = bounds[1]
    record[f"{quantity}_against"] = law.get("against")
    record[f"{quantity}_verdict"] = law.get("verdict")
  return record


def _markdown_line(cells: Iterable[str]) -> str:
  return "| " + " | ".join(_plain_markdown(cell) for cell in cells) + " |"


def _plain_markdown(words: str) -> str:
  """Text that GitHub prints as it stands, on one line."""
  line = " ".join(words.split())
  return re.sub(
      r"([\\`*<>|$&]|^[-+#](?= )|(?<!\w)_|_(?!\w)|~~|\](?=\())", r"\\\1", line
  )


def _bullets(lines: Sequence[str]) -> str:
  return "\n".join(f"- {_plain_markdown(line)}" for line in lines)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
  widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
  rule = ["-" * width for width in widths]
  padded = (
      "  ".join(cell.ljust(width) for cell, width in zip(line, widths))
      for line in (lines[0], rule, *lines[1:])
  )
  return "\n".join(line.rstrip() for line in padded)


def _ascii(words: str) -> str:
  decomposed = unicodedata.normalize("NFKD", words)
  bare = "".join(c for c in decomposed if not unicodedata.combining(c))
  return bare.encode("ascii", "replace").decode("ascii")


def _latex_line(cells: Iterable[str]) -> str:
  return " & ".join(cells) + r" \\"


def _latex_text(line: str) -> str:
  return rf"\par\noindent {escape_latex(line)}\par"
