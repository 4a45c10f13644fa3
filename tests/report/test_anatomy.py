"""Tables of a model's insides: every part of it, medians, what failed."""

from lalm.report import anatomy
from lalm.report import attention_maps
from lalm.report import conditioning
from lalm.report import spectra
from lalm.report import tasks


def _record(experiment, mechanism, replicate=0, **fields):
  point = {
      "mechanism": mechanism, "form": "f", "length": 32, "pass": "forward",
      "weights": fields.pop("weights", "own"), "corpus": "", "batch": 1,
      "seed": 0,
  }  # fmt: skip
  return {
      "experiment": experiment, "point": point, "replicate": replicate,
      "key": f"{mechanism} {point['weights']}", "status": "ok", "reason": "",
      "model": "a", "digest": "0" * 64, "started": "2026-01-01T00:00:00",
      **fields,
  }  # fmt: skip


def _matrix(role, layer, **numbers):
  return {
      "name": f"{layer}.{role}", "role": role, "layer": layer, "shape": [4, 2],
      "values": [1.0, 0.5], **numbers,
  }  # fmt: skip


def test_every_role_of_every_model_is_in_the_table():
  records = [
      _record(
          "weight_spectrum", role, weights=weights,
          matrices=[
              _matrix(role, layer, stable_rank=layer + 1, alpha=2.0, tail=9)
              for layer in (1, 0)
          ],
      )
      for weights in ("own", "minilm")
      for role in ("mlp_out", "q", "k")
  ]  # fmt: skip
  text = spectra.tables(records, {})
  assert text.count(", 6 matrices;") == 2
  assert text.index("(minilm") < text.index("(own")  # the newest first
  for role in ("q", "k", "mlp_out"):
    assert text.count(f"| {role} | 2 | 1.5 |") == 2
  names = [m["name"] for m in spectra.matrices(
      anatomy.settings(records, "weight_spectrum")[0]
  )]  # fmt: skip
  assert names == ["0.q", "0.k", "0.mlp_out", "1.q", "1.k", "1.mlp_out"]
  assert "2*" in text  # a tail of few
  lines = spectra.comma_separated(anatomy.settings(records, "weight_spectrum"))
  assert len(lines.splitlines()) == 13


def test_what_failed_is_told_and_of_replicates_the_median_counts():
  maps = lambda x: {
      "entropy": [[x]], "effective_rank": [[x]], "captured": [[x]],
      "alike": [0.5],
      "residual": {"whole": [1.0, x]}, "curve_places": [1, 32],
      "curve": [[0.5, 1.0]],
  }  # fmt: skip
  records = [
      _record("attention_spectrum", "maps", i, **maps(x))
      for i, x in enumerate((1.0, 9.0, 2.0))
  ]
  records.append(
      _record("attention_spectrum", "linformer", status="refused", reason="no")
  )
  errors = {str(budget): [[1 / budget]] for budget in (16, 256, 64)}
  records.append(_record("attention_spectrum", "performer", errors=errors))
  records.append(
      _record("attention_spectrum", "based", errors={"fixed": [[0.05, 0.5]]})
  )
  text = attention_maps.tables(records, {})
  assert "| 0 | 2 | 2 | 2 | 0.5 | 2 |" in text
  assert "- linformer at n=32: refused: no" in text
  (setting,) = anatomy.settings(records, "attention_spectrum")
  budgets = [
      b for n, b in attention_maps.stand_ins(setting, 32) if b != "fixed"
  ]
  assert budgets == ["16", "64", "256"]
  assert "| based | fixed | 0.275 | 1 of 2 |" in text


def test_a_correlation_is_of_logarithms_and_needs_three():
  numbers = lambda x: {
      "condition": x, "gram_condition": None, "effective_rank": 1.0,
      "foreseen bfloat16": x, "measured bfloat16": 3 * x**2,
      "foreseen float16": x, "measured float16": 1 / x,
  }  # fmt: skip
  record = _record(
      "conditioning", "q",
      matrices=[_matrix("q", i, **numbers(10.0**i)) for i in range(4)],
  )  # fmt: skip
  (setting,) = anatomy.settings([record], "conditioning")
  rows = conditioning.rows(setting)
  of = lambda rows, d: conditioning.correlation(
      rows, f"foreseen {d}", f"measured {d}"
  )
  assert abs(of(rows, "bfloat16") - 1) < 1e-9
  assert abs(of(rows, "float16") + 1) < 1e-9
  assert of(rows[:2], "float16") is None


def test_ways_are_held_against_ours_and_those_that_fail_are_told():
  ways = lambda ours, theirs: {
      "b": {"seconds": [theirs], "error": 1e-3},
      "lalm": {"seconds": [ours, ours, 9.0], "error": 1e-6},
      "c": {"error": float("inf"), "reason": "no such thing"},
  }
  records = [
      _record("linear_algebra", "ranks", i, meaning="all", ways=ways(1.0, x))
      for i, x in enumerate((3.0, 5.0, 4.0))
  ]
  text = tasks.tables(records, {})
  assert "| ranks | lalm | 1.00 s |  | 1.0e-06 |" in text
  assert "| ranks | b | 4.00 s | 4.00 [3.00, 5.00] | 1.0e-03 |" in text
  assert "- ranks, c: no such thing" in text and "- ranks: all" in text
