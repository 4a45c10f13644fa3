"""The table of steps says what the records say."""

import pytest

from lalm.report import steps


def _record(replicate, step, status="ok", mechanism="gla", **fields):
  """A record of 4 steps of `step` seconds; scaling takes 1, nothing 0.5."""
  point = {
      "mechanism": mechanism, "form": "steps", "length": 4, "batch": 256,
      "heads": 8, "width": 64, "dtype": "float32",
  }  # fmt: skip
  record = {"point": point, "replicate": replicate, "status": status}
  record |= {"key": mechanism, "experiment": "step_floor"}
  record |= {"versions": {"jax": "1.2.3"}, "started": "1", "reason": ""}
  if status != "ok":
    return {**record, "reason": "too much", **fields}
  floors = {"state_bytes": 2**25, "scaling": [1.0], "call": [2.0, 2.0, 9.0]}
  floors["no_op"] = [0.5]
  return {**record, "seconds": [4.0 * step], "floors": floors, **fields}


def test_a_step_is_a_share_of_the_scan_and_ratios_are_of_workers():
  (line,) = steps.lines([_record(i, s) for i, s in enumerate((2, 3, 7))])
  assert (line.step, line.scaling, line.call, line.no_op) == (3, 1, 2, 0.5)
  assert line.of_scaling == pytest.approx((2, 3, 7))
  assert line.of_no_op == pytest.approx((4, 4, 4))
  assert line.state_bytes == 2**25 and line.remark == ""


def test_what_was_not_measured_says_why():
  found = steps.lines([_record(0, 2), _record(0, 0, "over_budget", "based")])
  assert [line.mechanism for line in found] == ["based", "gla"]
  assert found[0].remark == "over_budget: too much"


def test_steps_without_floors_say_why():
  failed = {"floors": {"reason": "MemoryError: no room"}}
  (line,) = steps.lines([_record(0, 2, **failed)])
  assert line.remark == "floors: MemoryError: no room"
  (line,) = steps.lines([_record(0, 9, **failed), _record(1, 2)])
  assert line.of_scaling == (2,) and line.step == 2


def test_the_table_has_a_row_a_mechanism_and_its_setting():
  records = [_record(i, s) for i, s in enumerate((2, 3, 7))]
  records += [_record(0, 0, "over_budget", "based")]
  records += [_record(0, 99, experiment="other"), {"experiment": "step_floor"}]
  text = steps.tables(records, {"slug": "cpu-test"})
  assert "**cpu-test; jax 1.2.3; B=256, H=8, d=64, float32, 4 steps" in text
  assert [row for row in text.splitlines() if row.startswith("| gla")] == [
      "| gla | 32.0 MiB | 1.00 s | 3.00 s | 3.00 [2.00, 7.00] | 2.00 s |"
      " 500 ms | 4.00 [4.00, 4.00] |"
  ]
  assert "- based: over_budget: too much" in text


def test_settings_have_tables_of_their_own_newest_first():
  old = [_record(i, 2.0) for i in range(3)]
  point = {**old[0]["point"], "batch": 512}
  new = [_record(i, 3.0, point=point, started="2") for i in range(3)]
  text = steps.tables(old + new, {"slug": "cpu-test"})
  assert text.index("B=512") < text.index("B=256")
