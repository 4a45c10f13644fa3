"""The law table says what the fits and the records say, in every rendering."""

import csv
import io
import itertools
import pathlib
import re
import shutil
import statistics
import subprocess

import pytest

from lalm.report import results, tables
from tests.oracles import synthetic

HOSTILE = r"[1]a_b%c&d#e$f{g}h~i^j\k<l>|m[n]" + '"o'


def loaded(folder: pathlib.Path, **files) -> results.Results:
  """A whole sweep with laws and crossovers, or what `files` replaces."""
  content = {
      "records": synthetic.sweep(),
      "fits": synthetic.all_fits(),
      "crossovers": [
          synthetic.crossover("forward"),
          synthetic.crossover("forward_backward", None),
      ],
  } | files
  return results.load(synthetic.write(folder, **content))


def markdown_rows(text: str) -> list[list[str]]:
  """Cells of the lines of Markdown tables, without their headers."""
  lines = [line for line in text.splitlines() if line.startswith("| ")]
  rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
  return [row for row in rows if row[0] not in ("form", "---")]


def distinct_fits() -> list[dict]:
  """Fits no two of which have an exponent in common."""
  places = itertools.product(
      synthetic.KERNELS, synthetic.PASSES, ("time", "memory", "flops")
  )
  return [
      synthetic.fit(
          *kernel,
          pass_,
          quantity,
          exponent=1 + 0.04 * i,
          exponent_ci=[0.99 + 0.04 * i, 1.02 + 0.04 * i],
      )
      for i, (kernel, pass_, quantity) in enumerate(places)
  ]


def test_every_cell_of_a_law_equals_its_fit(tmp_path):
  fits = distinct_fits()
  rows = markdown_rows(tables.markdown(loaded(tmp_path, fits=fits)))
  for row in rows:
    own = {
        fit["quantity"]: fit
        for fit in fits
        if f"{fit['mechanism']}.{fit['form']}" == row[0]
        and fit["pass"].replace("_", "+") == row[1]
    }
    for column, quantity in ((2, "time"), (6, "memory")):
      law = own[quantity]
      low, high = law["exponent_ci"]
      expected = f"{law['exponent']:.2f} [{low:.2f}, {high:.2f}]"
      assert row[column] == expected
    assert row[7] == f"{own['flops']['exponent']:.2f}"


def test_every_number_of_the_csv_equals_the_fit_or_the_records(tmp_path):
  fits = distinct_fits()
  found = loaded(tmp_path, fits=fits)
  rows = list(csv.DictReader(io.StringIO(tables.comma_separated(found))))
  assert len(rows) == len(synthetic.KERNELS) * len(synthetic.PASSES)
  for row in rows:
    place = (row["mechanism"], row["form"], row["pass"])
    for fit in fits:
      if (fit["mechanism"], fit["form"], fit["pass"]) == place:
        name = fit["quantity"]
        assert float(row[f"{name}_exponent"]) == fit["exponent"]
        assert float(row[f"{name}_exponent_low"]) == fit["exponent_ci"][0]
        assert float(row[f"{name}_exponent_high"]) == fit["exponent_ci"][1]
        assert row[f"{name}_verdict"] == fit["verdict"]
    seconds = [
        statistics.median(r["seconds"])
        for r in synthetic.sweep()
        if (r["point"]["mechanism"], r["point"]["form"]) == place[:2]
        and (r["point"]["pass"], r["point"]["length"]) == (place[2], 8192)
    ]
    assert row["length"] == "8192"
    assert float(row["seconds"]) == statistics.median(seconds)
    assert float(row["share_of_ceiling"]) == 0.4567
    assert row["compile_exponent"] == ""


def test_markdown_text_and_latex_hold_the_same_cells(tmp_path):
  found = loaded(tmp_path)
  rows = markdown_rows(tables.markdown(found))
  assert rows[0][:4] == [
      "linear.chunkwise",
      "forward",
      "1.01 [0.98, 1.05]",
      "linear",
  ]
  assert rows[-1][4].endswith(" s at 8,192") and rows[-1][5] == "46 %"
  plain, latex = tables.text(found), tables.latex(found)
  for row in rows:
    aligned = [re.escape(cell) for cell in row]
    assert re.search(r"^" + r" +".join(aligned) + r"$", plain, re.MULTILINE)
    cells = [tables.escape_latex(cell) for cell in row]
    assert " & ".join(cells) + r" \\" in latex


def test_text_for_a_terminal_is_ascii_and_aligned(tmp_path):
  name = "package.module:Möbius"
  records = synthetic.sweep(kernels=[(name, "parallel")])
  text = tables.text(loaded(tmp_path, records=records, fits=[]))
  assert text.isascii() and "Mobius.parallel" in text
  lines = text.splitlines()
  rule = next(
      i for i, line in enumerate(lines) if set(line) <= {"-", " "} and line
  )
  starts = [m.start() for m in re.finditer(r"-+", lines[rule])]
  for start in starts[1:]:
    assert lines[rule + 1][start - 1] == lines[rule - 1][start - 1] == " "


def test_crossovers_stand_below_the_table_with_their_interval(tmp_path):
  for text in (
      tables.text(loaded(tmp_path / "a")),
      tables.markdown(loaded(tmp_path / "b")),
  ):
    crossed = (
        "time, forward: softmax.blockwise and linear.chunkwise cross at n ="
    )
    assert f"{crossed} 739 [665, 828]" in text
    apart = "no crossover in the measured range, time, forward+backward"
    assert apart in text


@pytest.mark.parametrize("others", [5, 6])
def test_among_many_curves_laws_of_one_order_cross_unnamed(tmp_path, others):
  # With the three of softmax and linear these are 8 and 9 curves.
  names = [f"m{i}" for i in range(others)]
  kernels = [*synthetic.KERNELS, *((name, "chunkwise") for name in names)]
  item = synthetic.crossover("forward")
  found = loaded(
      tmp_path,
      records=synthetic.sweep(kernels, lengths=(512, 1024), replicates=1),
      fits=synthetic.all_fits(kernels)[: 6 * len(kernels) - 6],
      crossovers=[
          item,
          item | {"a": "m0.chunkwise", "b": "m1.chunkwise"},
          item | {"a": f"{names[-1]}.chunkwise"},  # which has no law
      ],
  )
  text = tables.text(found)
  assert len(found.groups[0].curves) == others + 3
  assert "softmax.blockwise and linear.chunkwise cross" in text
  assert f"{names[-1]}.chunkwise and linear.chunkwise cross" in text
  many = others == 6
  assert ("m0.chunkwise and m1.chunkwise cross" in text) != many
  assert ("crossovers.json has them all" in text) == many


def test_every_crossing_of_a_pair_is_named(tmp_path):
  item = synthetic.crossover("forward", 3000.0) | {
      "crossings": [
          {"length": 400.0, "length_ci": [350.0, 450.0]},
          {"length": 3000.0, "length_ci": None},
      ]
  }
  text = tables.text(loaded(tmp_path, crossovers=[item]))
  assert "cross at n = 400 [350, 450] and 3,000;" in text


@pytest.mark.parametrize(
    "status",
    [
        "wrong",
        "not_finite",
        "out_of_memory",
        "timeout",
        "crashed",
        "over_budget",
        "skipped",
    ],
)
def test_what_did_not_end_well_is_listed_with_where_and_why(tmp_path, status):
  lost = [
      synthetic.record(
          "softmax", "parallel", "forward", 16384, i, status, "the reason why"
      )
      | {"seconds": [1e-3]}
      for i in range(5)
  ]
  found = loaded(tmp_path, records=synthetic.sweep() + lost)
  expected = f"{status}: softmax.parallel forward at n = 16,384 (5 records)"
  assert f"{expected}: the reason why" in tables.text(found)
  at = [row[4] for row in markdown_rows(tables.markdown(found))]
  assert not any("16,384" in cell for cell in at)  # never as a time


def test_damage_of_the_store_is_listed_by_line(tmp_path):
  found = loaded(tmp_path)
  path = tmp_path / "records.jsonl"
  lines = path.read_bytes().splitlines(keepends=True)
  lines[7] = lines[7][:40] + b"#" + lines[7][41:]
  path.write_bytes(b"".join(lines))
  damaged = results.load(tmp_path)
  assert len(found.damage) == 0
  assert "records.jsonl: line 8 (byte" in tables.text(damaged)
  assert "records.jsonl: line 8 (byte" in tables.markdown(damaged)


def test_an_inconclusive_verdict_comes_with_its_reason(tmp_path):
  reason = "the interval [0.91, 2.46] is wider than 0.5"
  fits = [
      fit | {"verdict": "inconclusive", "reason": reason}
      for fit in synthetic.all_fits()
  ]
  text = tables.text(loaded(tmp_path, fits=fits))
  assert f"inconclusive: linear.chunkwise forward: {reason}" in text


def test_exponents_against_a_closed_form_say_so(tmp_path):
  causal = [fit | {"against": "closed form"} for fit in synthetic.all_fits()]
  assert "equivalent length" in tables.text(loaded(tmp_path / "a", fits=causal))
  assert "equivalent length" not in tables.text(loaded(tmp_path / "b"))


@pytest.mark.parametrize("fits", [None, [], "damaged", "other machine"])
def test_without_laws_the_table_still_holds_every_time(tmp_path, fits):
  foreign = [fit | {"machine": "ffffffffffff"} for fit in synthetic.all_fits()]
  content = foreign if fits == "other machine" else fits
  folder = synthetic.write(
      tmp_path, synthetic.sweep(), None if fits == "damaged" else content
  )
  if fits == "damaged":
    (folder / "fits.json").write_text("[{")
  found = results.load(folder)
  rows = markdown_rows(tables.markdown(found))
  assert len(rows) == 6
  assert all(row[2] == "-" and "at 8,192" in row[4] for row in rows)
  assert ("not read: fits.json" in tables.text(found)) == (fits == "damaged")


def test_records_of_two_machines_share_no_row(tmp_path):
  other = [
      record | {"machine": "ffffffffffff", "started": "2026-02-01T00:00:00Z"}
      for record in synthetic.sweep(lengths=(256, 512))
  ]
  found = loaded(tmp_path, records=synthetic.sweep() + other)
  assert [g.setting["machine"] for g in found.groups] == [
      "ffffffffffff",
      synthetic.MACHINE,
  ]
  rows = markdown_rows(tables.markdown(found))
  assert ["at 512" in row[4] for row in rows] == [True] * 6 + [False] * 6
  assert [row[2] == "-" for row in rows] == [True] * 6 + [False] * 6


def test_a_changed_kernel_leaves_its_old_times_out(tmp_path):
  old = synthetic.sweep(kernels=[("linear", "chunkwise")], passes=("forward",))
  new = [
      record
      | {
          "key": record["key"][::-1],
          "started": "2026-03-01T00:00:00Z",
          "seconds": [7.0],
      }
      for record in old
  ]
  for name, records in (("a", old + new), ("b", new + old)):
    found = loaded(tmp_path / name, records=records, fits=[], crossovers=[])
    assert markdown_rows(tables.markdown(found))[0][4] == "7.00 s at 8,192"


def test_latex_compiles_with_hostile_names(tmp_path):
  records = synthetic.sweep(kernels=[(HOSTILE, "parallel")], replicates=1)
  records.append(
      synthetic.record(
          HOSTILE, "parallel", "forward", 16384, 0, "crashed", HOSTILE
      )
  )
  source = tables.latex(loaded(tmp_path, records=records))
  assert HOSTILE not in source
  bare = re.sub(r"\\[a-zA-Z]+(\{\})?|\\[{}$&%#_\\]", "", source)
  body = [line for line in bare.splitlines() if not line.startswith("%")]
  assert not set('#$_^~<>|"') & set(
      "".join(body).replace("$n^$", "").replace("$n$", "")
  )
  if shutil.which("pdflatex") is None:
    return  # what is above holds without a compiler
  (tmp_path / "table.tex").write_text(source)
  (tmp_path / "paper.tex").write_text(
      "\\documentclass{article}\\begin{document}\n\\input{table.tex}\n"
      "\\end{document}\n"
  )
  command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error"]
  done = subprocess.run(
      [*command, "paper.tex"], cwd=tmp_path, capture_output=True, timeout=60
  )
  assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_markdown_keeps_hostile_names_in_their_cell(tmp_path):
  records = synthetic.sweep(kernels=[(HOSTILE, "parallel")], replicates=1)
  text = tables.markdown(loaded(tmp_path, records=records))
  row = next(line for line in text.splitlines() if line.startswith("| [1]a_b"))
  assert len(re.findall(r"(?<!\\)\|", row)) == 9
