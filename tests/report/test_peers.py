"""The table of libraries says what the records say."""

import re

import pytest

from lalm.report import medians
from lalm.report import peers


def _record(
    library, replicate, seconds, status="ok", key="", started="", **point
):
  point = {
      "mechanism": "softmax", "causal": True, "pass": "forward",
      "length": 1024, "form": library, "batch": 1, "heads": 8, "width": 64,
      "dtype": "float32", **point,
  }  # fmt: skip
  record = {"point": point, "replicate": replicate, "status": status}
  record |= {"key": f"{key}{library}", "started": started}
  record["versions"] = {"jax": "1.2.3"}
  if status == "ok":
    return {**record, "seconds": seconds, "reason": ""}
  return {**record, "reason": "asked for too much"}


def _line(records, missing=None):
  (line,) = peers.ratios(records, missing or {})
  return line


def test_a_ratio_is_the_median_over_workers_of_theirs_over_ours():
  ours = [_record("lalm", i, [t, t, 9.0]) for i, t in enumerate((1, 2, 4))]
  theirs = [_record("torch", i, [t]) for i, t in enumerate((3, 2, 4.8))]
  line = _line(ours + theirs)
  assert line.ratio == pytest.approx(1.2)  # of 3, 1 and 1.2
  assert medians.interval(line.each) == pytest.approx((1, 3))
  assert (line.ours, line.theirs) == (2, 3)
  assert line.remark == ""
  assert _line(theirs[::-1] + ours[::-1]) == line


def test_only_workers_that_timed_both_are_compared():
  ours = [_record("lalm", i, [1.0]) for i in (0, 1, 2, 5)]
  theirs = [_record("torch", i, [float(i)]) for i in (1, 2, 3)]
  line = _line(ours + theirs)
  assert line.ratio == pytest.approx(1.5)  # of 1 and 2
  assert medians.interval(line.each) is None  # two workers are too few


def test_times_of_two_processes_are_not_compared():
  ours = [_record("lalm", i, [1.0]) for i in range(3)]
  theirs = [_record("torch", i, [2.0]) for i in range(3)]
  for record in ours:
    record["worker"] = "a"
  for record in theirs:
    record["worker"] = "b" if record["replicate"] == 0 else "a"
  assert len(_line(ours + theirs).each) == 2


def test_only_the_program_tried_last_is_compared():
  ours = [_record("lalm", i, [1.0]) for i in range(3)]
  old = [_record("torch", i, [2.0], key="old", started="1") for i in range(3)]
  new = [_record("torch", i, [3.0], key="new", started="2") for i in range(2)]
  for records in (old + new, new + old):
    assert _line(ours + records).ratio == 3
  wrong = _record("torch", 0, [], "wrong", key="newer", started="3")
  assert _line(ours + old + new + [wrong]).ratio is None


@pytest.mark.parametrize("count", (3, 5, 6, 9))
def test_the_interval_holds_the_ratio_and_lies_within_the_workers(count):
  each = [1 + 0.1 * i for i in range(count)]
  records = [_record("lalm", i, [1.0]) for i in range(count)]
  records += [_record("torch", i, [t]) for i, t in enumerate(each)]
  low, high = medians.interval(_line(records).each)
  assert each[0] <= low < _line(records).ratio < high <= each[-1]
  if count == 9:  # narrower than the range
    assert high - low < each[-1] - each[0]


def test_what_was_not_measured_says_why():
  ours = [_record("lalm", 0, [1.0])]
  failed = _record("torch", 0, [], "out_of_memory")
  line = _line(ours + [failed])
  assert line.ratio is None and line.remark.startswith("out_of_memory: asked")
  absent = _line(
      ours, {"softmax": {"torch": "torch"}, "linear": {"jla": "jla"}}
  )
  assert absent.library == "torch"
  assert absent.remark == "missing: needs torch"


def test_works_passes_and_lengths_are_lines_of_their_own_in_order():
  records = [
      _record(
          library, 0, [1.0], length=length, causal=causal, **{"pass": pass_}
      )
      for length in (2048, 1024)
      for causal in (True, False)
      for pass_ in ("forward_backward", "forward")
      for library in ("torch", "lalm", "jax.nn")
  ]
  lines = peers.ratios(records, {})
  assert len(lines) == 16
  places = [(x.library, x.causal, x.pass_, x.length) for x in lines]
  assert places == sorted(places) and len(set(places)) == 16


def test_the_table_holds_every_line_and_what_was_measured():
  records = [_record("lalm", i, [0.5]) for i in range(3)]
  records += [_record("torch", i, [0.25]) for i in range(3)]
  records += [_record("jax.nn", 0, [], "over_budget")]
  lines = peers.ratios(records, {})
  heading = peers.heading(records, {"slug": "cpu-test"})
  assert "cpu-test" in heading and "jax 1.2.3" in heading
  assert "3 worker" in heading and "H=8" in heading
  text = peers.markdown(lines, heading)
  rows = [row for row in text.splitlines() if row.startswith("| softmax")]
  assert [re.split(r" *\| *", row)[1:-1] for row in rows] == [
      ["softmax, causal", "jax.nn", "forward", ""],
      ["softmax, causal", "torch", "forward", "0.50 [0.50, 0.50]"],
      ["softmax, causal", "jax.nn", "forward", ""],
      ["softmax, causal", "lalm", "forward", "500 ms"],
      ["softmax, causal", "torch", "forward", "250 ms"],
  ]
  assert "- softmax, causal, jax.nn, forward at 1,024: over_budget" in text


def test_settings_have_tables_of_their_own_and_other_experiments_none():
  def records(seconds, started, **point):
    return [
        _record(library, i, [s], started=started, **point)
        | {"experiment": "peer_comparison"}
        for library, s in (("lalm", 1.0), ("torch", seconds))
        for i in range(3)
    ]

  narrow = records(2.0, "2", dtype="bfloat16")
  wide = records(3.0, "1")
  foreign = [r | {"experiment": "other"} for r in records(4.0, "3")]
  text = peers.tables([*wide, *foreign, {"experiment": "peer_comparison"},
                       *narrow], {"slug": "cpu-test"}, {})  # fmt: skip
  headings = [row for row in text.splitlines() if row.startswith("**")]
  assert ["bfloat16" in heading for heading in headings] == [True, False]
  shares = re.findall(r"torch \| forward \| (\d\.\d\d) \[", text)
  assert shares == ["2.00", "3.00"]


def test_lengths_are_columns_and_a_missing_library_is_one_row_a_pass():
  records = [
      _record(library, i, [seconds], length=length)
      for library, seconds in (("lalm", 1.0), ("torch", 3.0))
      for length in (2048, 1024)
      for i in range(3)
  ]
  records.append(_record("lalm", 0, [1.0], length=4096))
  records.append(_record("torch", 0, [2.0], length=4096))
  lines = peers.ratios(records, {"softmax": {"jla": "a GPU"}})
  text = peers.markdown(lines, "heading").splitlines()
  assert "| work | library | pass | 1,024 | 2,048 | 4,096 |" in text
  missing = [row for row in text if "jla" in row]
  assert missing == [
      "| softmax, causal | jla | forward | missing: needs a GPU |  |  |"
  ]
  row = next(row for row in text if "torch" in row)
  assert row.endswith("| 3.00 [3.00, 3.00] | 2.00 (1 worker) |")
