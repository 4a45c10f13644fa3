"""Laws of split sequences, from hand-made records."""

import json

import pytest

from lalm import store
from lalm.report import canvas
from lalm.report import sharded
from lalm.report import sharded_figure

_POINT = {
    "mechanism": "linear", "form": "chunkwise", "pass": "forward", "batch": 1,
    "heads": 8, "width": 64, "value_width": 64, "dtype": "float32",
    "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
_DEVICES = {"h100x2": 2, "h100x8": 8, "tpu-v5e-2x2": 4, "tpu-v5e-16x16": 256}


def _record(machine, length, status="ok", **point):
  point = {**_POINT, "length": length, **point}
  count = _DEVICES[machine]
  return {
      "key": f"{machine} {json.dumps(point)}", "replicate": 0,
      "status": status, "reason": "" if status == "ok" else "too large",
      "point": point, "experiment": "sharded_scaling", "machine": machine,
      "started": "2026", "provenance": "compiled", "versions": {"jax": "1"},
      "sharding": "passed states",
      "memory": {"device_bytes": 512 * length / count},
      "estimate": {"communication_bytes": 1024 * count},
  }  # fmt: skip


_RECORDS = [_record(m, n) for m in _DEVICES for n in (2**16, 2**18, 2**20)]


def _lines(records):
  (found,) = sharded.lines(records, _DEVICES).values()
  return found


def test_what_is_split_and_what_is_of_each_device_are_told_apart():
  for line in _lines(_RECORDS):
    memory = sharded.law(line, sharded.device_bytes)
    assert memory.terms == pytest.approx({"n/P": 512.0})
    moved = sharded.law(line, sharded.communication)
    assert moved.terms == pytest.approx({"P": 1024.0})
    assert max(memory.miss, moved.miss) < 1e-9


def test_a_sum_of_terms_is_found():
  mixed = json.loads(json.dumps(_RECORDS))
  for record in mixed:
    n, p = record["point"]["length"], _DEVICES[record["machine"]]
    size = 4096 * n / p + 64 * n + 2**20 * p + 2**22
    record["memory"]["device_bytes"] = size
  found = sharded.law(_lines(mixed)[1], sharded.device_bytes)
  expected = {"n/P": 4096.0, "n": 64.0, "P": 2.0**20, "1": 2.0**22}
  assert found.terms == pytest.approx(expected, rel=1e-6)


def test_machines_of_a_kind_share_a_law():
  assert [line.kind for line in _lines(_RECORDS)] == ["h100", "tpu-v5e"]


def test_a_point_off_the_law_is_told_by_the_largest_miss():
  bent = json.loads(json.dumps(_RECORDS))
  bent[0]["memory"]["device_bytes"] *= 2
  found = sharded.law(_lines(bent)[0], sharded.device_bytes)
  assert found.miss > 0.2


def test_points_of_one_count_of_devices_or_one_length_have_no_law():
  law = lambda records: sharded.law(_lines(records)[0], sharded.device_bytes)
  assert law(_RECORDS[:4]) is not None
  assert law(_RECORDS[:3]) is None  # of two devices all
  assert law(_RECORDS[:1] + _RECORDS[3:4]) is None
  even = [_record(m, 2**18) for m in ("h100x2", "h100x8")] * 2
  assert law(even) is None


def test_the_table_has_laws_the_largest_point_and_what_did_not_fit():
  lost = _record("h100x2", 2**22, "out_of_memory")
  text = sharded.markdown(sharded.lines([*_RECORDS, lost], _DEVICES))
  assert (
      "| h100, P = 2, 8 | linear.chunkwise | forward | passed states |"
      " 512 B n/P (0.0 %) | 1.00 KiB P (0.0 %) |" in text
  )
  assert "n = 1,048,576, P = 256: 2.00 MiB, 256 KiB" in text
  assert "n = 4,194,304, P = 2: out_of_memory: too large" in text
  assert "compiled, not run" in text


def test_what_does_not_communicate_says_so():
  silent = [{**r, "estimate": {"communication_bytes": 0}} for r in _RECORDS]
  text = sharded.markdown(sharded.lines(silent, _DEVICES))
  assert "| - | n = 1,048,576, P = 8: 64.0 MiB, nothing |" in text


def test_a_folder_of_machines_is_published(tmp_path, capsys):
  for record in _RECORDS:
    folder = tmp_path / record["machine"]
    store.append(folder / "records.jsonl", record)
    count = _DEVICES[record["machine"]]
    store.replace(
        folder / "environment.json", json.dumps({"device_count": count})
    )
  sharded.publish(tmp_path)
  assert "512 B n/P" in (tmp_path / "table.md").read_text()
  assert (tmp_path / "figures" / "sharded.svg").exists()
  assert "figure:" in capsys.readouterr().out


def test_the_figure_has_a_panel_for_each_kind_quantity_and_form():
  ((heading, lines),) = sharded.lines(_RECORDS, _DEVICES).items()
  with canvas.settings():
    drawn = sharded_figure.draw(heading, lines)
  assert len(drawn.axes) == 4
  assert drawn.axes[0].get_ylabel() == "h100\nmemory of a device"
