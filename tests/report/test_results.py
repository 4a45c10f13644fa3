"""What a folder holds: groups, curves, current lines, failures."""

import pytest

from lalm.report import points, results
from tests.oracles import synthetic


def only_group(records, **files) -> results.Group:
  """The single group of these records."""
  (group,) = results.grouped(records, **files)
  return group


def test_a_folder_without_records_is_named_in_one_line(tmp_path):
  with pytest.raises(results.Missing) as error:
    results.load(tmp_path / "none")
  assert str(tmp_path / "none") in str(error.value)
  assert "\n" not in str(error.value)


def test_a_finished_line_stands_over_one_that_was_left_out():
  place = ("linear", "chunkwise", "forward", 256)
  left_out = synthetic.record(*place, 0, "over_budget", "no time left")
  done = synthetic.record(*place, 0)
  for records in ([left_out, done], [done, left_out]):
    group = only_group(records)
    (found,) = group.points.values()
    assert [record["status"] for record in found] == ["ok"]


def test_lines_of_a_dead_worker_without_versions_join_their_sweep():
  records = synthetic.sweep()
  lost = synthetic.record("softmax", "parallel", "forward", 16384, 0, "crashed")
  for name in ("versions", "machine", "provenance", "started"):
    del lost[name]
  group = only_group([*records, lost])
  curve = results.Curve("softmax", "parallel")
  assert points.failures(group, curve, "forward") == {16384: "crashed"}


def test_the_gravest_ending_is_told_where_workers_differ():
  place = ("softmax", "parallel", "forward", 256)
  endings = ("ok", "skipped", "wrong", "timeout")
  records = [synthetic.record(*place, i, s) for i, s in enumerate(endings)]
  group = only_group(records)
  curve = results.Curve("softmax", "parallel")
  assert points.failures(group, curve, "forward") == {256: "wrong"}


def test_chunks_tell_curves_apart_only_where_they_differ():
  place = ("linear", "chunkwise", "forward", 256)
  one = synthetic.record(*place, 0, chunk=64)
  other = synthetic.record(*place, 0, chunk=128)
  assert [c.name for c in only_group([one]).curves] == ["linear.chunkwise"]
  names = [c.name for c in only_group([one, other]).curves]
  assert names == ["linear.chunkwise C=64", "linear.chunkwise C=128"]
  default = synthetic.record(*place, 0)
  fits = [synthetic.fit(*place[:3], "time", chunk=c) for c in (64, None)]
  (group,) = results.grouped([default, one], fits)
  laws = {(c.chunk, fit["chunk"]) for (c, _, _), fit in group.fits.items()}
  assert laws == {(None, None), (64, 64)}
  fits = [synthetic.fit(*place[:3], "time", chunk=128)]
  group = only_group([one, other], fits=fits)
  assert [curve.chunk for curve, _, _ in group.fits] == [128]


def test_a_stale_band_never_moves_a_point():
  records = synthetic.sweep()
  fresh, stale = synthetic.all_fits(), synthetic.all_fits()
  for fit in stale:
    fit["band"] = [[9 * high, 10 * high] for _, high in fit["band"]]
  curve = results.Curve("softmax", "blockwise")
  for fits, fitted in ((fresh, True), (stale, False)):
    group = only_group(records, fits=fits)
    for spread in points.spreads(group, curve, "forward", "time"):
      assert spread.low <= spread.centre <= spread.high
      assert spread.fitted == fitted


def test_mechanisms_stand_in_the_order_of_the_configuration():
  records = synthetic.sweep(lengths=(256,), replicates=1)
  group = only_group(records, mechanisms=["softmax", "linear"])
  assert [c.mechanism for c in group.curves] == ["softmax", "softmax", "linear"]


def test_records_that_are_no_points_are_counted_not_shown(tmp_path):
  records = synthetic.sweep(lengths=(256,), replicates=1)
  odd = [{"status": "ok"}, {"point": {"peer": "torch"}, "status": "ok"}]
  found = results.load(synthetic.write(tmp_path, [*records, *odd]))
  assert len(found.groups) == 1
  assert found.unreadable == ("records.jsonl: 2 lines without a point",)


def test_a_law_that_names_no_machine_goes_to_the_newest_group_alone():
  place = ("linear", "chunkwise", "forward", 256)
  old = synthetic.record(*place, 0)
  new = old | {"machine": "ffffffffffff", "started": "2026-05-01T00:00:00Z"}
  fit = synthetic.fit(*place[:3], "time")
  del fit["machine"]
  groups = results.grouped([old, new], [fit])
  assert [len(group.fits) for group in groups] == [1, 0]
