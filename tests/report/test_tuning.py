"""The fastest chunks, chosen from records and kept in a table."""

import json
import math
import pathlib

import pytest

from lalm import store
from lalm.attention import catalogue
from lalm.report import tuning

_RESULTS = pathlib.Path(__file__).parents[2] / "results" / "chunk_sizes"


def _record(mechanism="linear", chunk=32, seconds=1.0, **fields):
  point = {
      "mechanism": mechanism, "form": "chunkwise", "pass": "forward",
      "length": 1024, "dtype": "bfloat16", "width": 64, "chunk": chunk,
  }  # fmt: skip
  point |= {name: fields.pop(name) for name in tuple(fields) if name in point}
  status = fields.get("status", "ok")
  return {
      "experiment": "chunk_sizes", "point": point, "device": "tpu",
      "key": json.dumps(point), "replicate": 0, "started": "2026",
      "status": status, "reason": "",
      "seconds": [seconds] if status == "ok" else [], **fields,
  }  # fmt: skip


def _only(records):
  (found,) = tuning.choices(records)
  return found


def test_the_least_geometric_mean_over_curves_is_chosen():
  # 64 is twice as slow in one curve and five times as fast in the other.
  found = _only(
      [
          _record(chunk=32, seconds=1.0),
          _record(chunk=64, seconds=2.0),
          _record(chunk=32, seconds=5.0, **{"pass": "forward_backward"}),
          _record(chunk=64, seconds=1.0, **{"pass": "forward_backward"}),
      ]
  )
  assert found[:5] == ("linear.chunkwise", "tpu", "bfloat16", 64, 64)
  assert found.times[64] == pytest.approx(math.sqrt(2))
  assert found.times[32] == pytest.approx(math.sqrt(5))


def test_a_longer_chunk_must_gain_something():
  records = [_record(chunk=c, seconds=1 - c / 1e4) for c in (64, 32, 128)]
  assert _only(records).chunk == 32


def test_a_chunk_that_some_curve_has_no_time_of_is_none():
  slow = [_record(chunk=32, seconds=3.0), _record("performer", chunk=32)]
  other = {"pass": "forward_backward"}
  records = [
      *slow,
      _record(chunk=64, seconds=1.0),
      _record(chunk=32, seconds=3.0, **other),
      _record(chunk=64, status="out_of_memory", **other),
  ]
  assert _only(records).chunk == 32


def test_a_mechanism_without_any_time_does_not_hinder_the_others():
  failed = [
      _record("gla", c, status="crashed", reason="no such tile")
      for c in (32, 64)
  ]
  good = [_record("mamba2", 32, 2.0), _record("mamba2", 64, 1.0)]
  assert _only([*failed, *good]).chunk == 64
  assert tuning.choices(failed) == []


def test_the_table_has_no_rows_of_dtypes_that_read_others():
  records = [_record(chunk=c, dtype="float16") for c in (32, 64)]
  assert tuning.choices(records) == []


def test_mechanisms_of_a_form_choose_together_and_others_apart():
  records = [
      _record("mamba2", 32, 1.0), _record("mamba2", 64, 4.0),
      _record("gla", 32, 2.0), _record("gla", 64, 1.0),
      _record("linear", 32, 2.0), _record("linear", 64, 1.0),
      _record("linear", 32, 1.0, dtype="float32"),
      _record("linear", 64, 1.0, dtype="float32"),
  ]  # fmt: skip
  found = {(c.form, c.dtype): c.chunk for c in tuning.choices(records)}
  assert found == {
      ("gated.chunkwise", "bfloat16"): 32,
      ("linear.chunkwise", "bfloat16"): 64,
      ("linear.chunkwise", "float32"): 32,
  }


def test_of_what_was_compiled_the_compilers_time_counts():
  made = {"provenance": "compiled", "seconds": None}
  records = [
      _record(chunk=c, **made, estimate={"compiler_seconds": s})
      for c, s in ((32, 2.0), (64, 1.0))
  ]
  assert _only(records).chunk == 64
  silent = {"compiler_seconds": None, "roofline_seconds": 1.0}
  records = [_record(chunk=c, **made, estimate=silent) for c in (32, 64)]
  assert tuning.choices(records) == []
  assert "No chunk has a time" in tuning.tables(records, {})


def _curves(forward, backward):
  passes = {"forward": forward, "forward_backward": backward}
  return [
      _record(chunk=chunk, seconds=seconds, **{"pass": pass_})
      for pass_, times in passes.items()
      for chunk, seconds in times.items()
  ]


def test_a_sweep_cut_short_takes_no_chunk_and_says_why(tmp_path, capsys):
  records = _curves(
      {64: 1.0, 128: 1.0, 256: 1.0, 1024: 9.0},
      {32: 1.0, 512: 1.0, 1024: 9.0},
  )
  found = _only(records)
  assert found.chunk is None
  why = "not enough: linear forward at 1,024 lacks C = 512"
  assert found.lacking == why
  text = tuning.tables(records, {})
  assert "| linear.chunkwise | bfloat16 | 64 | not enough |" in text
  assert f"- linear.chunkwise bfloat16 of width 64: {why}" in text
  for record in records:
    store.append(tmp_path / "records.jsonl", record)
  assert tuning.main([str(tmp_path)]) == 2
  assert why in capsys.readouterr().err


def test_what_there_was_no_time_for_was_not_compared():
  last = _record(chunk=128, status="over_budget")
  records = [_record(chunk=32, seconds=2.0), _record(chunk=64), last]
  assert _only(records).chunk is None
  failed = {**last, "status": "out_of_memory"}
  assert _only([*records[:2], failed]).chunk == 64
  slower = [_record(chunk=c, seconds=c / 16) for c in (16, 32, 64)]
  assert _only([*slower, last]).chunk == 16


def test_the_fastest_too_is_compared_with_its_neighbours():
  # 64 is near enough to 128, but nobody knows of 256.
  times = {32: 3.0, 64: 1.1, 128: 1.0}
  records = [_record(chunk=c, seconds=s) for c, s in times.items()]
  assert _only(records).chunk == 64
  assert _only([*records, _record(chunk=256, status="over_budget")])[4] is None


def test_a_devices_own_time_counts_where_all_have_it():
  def record(chunk, wall, own):
    return {**_record(chunk=chunk, seconds=wall), "device_time": own}

  first = record(32, 1.0, {"seconds": 0.9})
  assert _only([first, record(64, 1.0, {"seconds": 0.1})]).chunk == 64
  assert _only([first, record(64, 1.0, {"seconds": None})]).chunk == 32


def test_of_several_workers_the_median_counts():
  times = {32: (1.0, 1.0, 9.0), 64: (2.0, 2.0, 2.0)}
  records = [
      {**_record(chunk=c, seconds=s), "replicate": i}
      for c in times
      for i, s in enumerate(times[c])
  ]
  assert _only(records).chunk == 32


def test_the_table_tells_what_was_tried_and_taken():
  records = [_record(chunk=32, seconds=3.0), _record(chunk=64, seconds=1.5)]
  text = tuning.tables(records, {"slug": "tpu-x", "provenance": "compiled"})
  assert "**tpu-x, compiled, not run" in text
  assert "| linear.chunkwise | bfloat16 | 64 | 64 | 2.00 | 1.00 |" in text


def test_a_choice_replaces_its_own_row_and_leaves_the_others():
  slow = _record(chunk=32, seconds=2.0)
  lone = _record("gla", chunk=64, dtype="float32", width=8)
  found = tuning.choices([slow, _record(chunk=64), lone])
  row = {
      "form": "linear.chunkwise", "platform": "tpu", "dtype": "bfloat16",
      "width": 64, "chunk": 8, "source": "measured on x",
  }  # fmt: skip
  other = {**row, "width": 128}
  rows = tuning.merged([other, row], found, "compiled for y")
  assert rows == [{**row, "chunk": 64, "source": "compiled for y"}, other]


def test_the_command_writes_the_table(tmp_path, monkeypatch, capsys):
  table, folder = tmp_path / "tuning.json", tmp_path / "tpu-x"
  table.write_text("[]")
  monkeypatch.setattr(tuning, "TABLE", table)
  for chunk in (64, 128):
    store.append(folder / "records.jsonl", _record(chunk=chunk))
  store.replace(folder / "environment.json", '{"slug": "tpu-x"}')
  assert tuning.main([str(folder)]) == 0
  (row,) = json.loads(table.read_text())
  assert row["chunk"] == 64 and row["source"] == "measured on tpu-x"
  store.append(tmp_path / "empty" / "records.jsonl", {"experiment": "other"})
  for given in ([], [str(tmp_path / "absent")], [str(tmp_path / "empty")]):
    assert tuning.main(given) == 2
  assert "expected DIR/<device>" in capsys.readouterr().err


def test_the_table_is_that_of_the_committed_records():
  folder = _RESULTS / "tpu-v5e-2x2"
  found = tuning.choices(store.load(folder / "records.jsonl").records)
  rows = json.loads(tuning.TABLE.read_text())
  own = [row for row in rows if row["source"] == f"compiled for {folder.name}"]
  assert own == tuning.merged([], found, f"compiled for {folder.name}")


def test_every_mechanism_is_filed_under_the_form_that_computes_it():
  for name, form in tuning.FORMS.items():
    forms = catalogue.get(name).forms.values()
    assert form in {getattr(f, "tuned_as", "") for f in forms}
