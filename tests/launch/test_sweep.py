"""A sweep whose points misbehave goes on, says so, and resumes."""

import json
import os
import pathlib
import time

import pytest

from experiments import peer_comparison
from lalm.launch import budget
from lalm.launch import command
from lalm.launch import order
from tests.launch import stub_sweep

_LENGTHS = (16, 32, 64, 128)


def _statuses(records, replicate=0):
  """Status by length, of one replicate."""
  return {
      record["point"]["length"]: record["status"]
      for record in records
      if record["replicate"] == replicate
  }


def _groups():
  """The process groups that have a member which runs."""
  found = set()
  for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      stat = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
      continue
    if stat[0] != "Z":  # ended, and only waits to be read
      found.add(int(stat[2]))
  return found


def test_what_has_nothing_beside_it_is_left_out_of_a_comparison(
    sweep, records, monkeypatch
):
  several = stub_sweep.EXPERIMENT._replace(fewest=2)
  monkeypatch.setattr(stub_sweep, "EXPERIMENT", several)
  given = ["--config.mechanisms=tests.launch.stub:OWN,steady"]
  given += ["--config.lengths=16", "--config.replicates=1"]
  outcome = sweep(*given)
  assert outcome.status == 0
  (line,) = outcome.errors.splitlines()
  assert line.endswith("tests.launch.stub:OWN: only direct is at hand")
  assert {r["point"]["mechanism"] for r in records()} == {"steady"}
  assert sweep(*given, "--config.forms=direct").errors == ""
  assert len(records()) == 2


def test_a_point_that_goes_on_is_tried_again_after_its_process_has_ended(
    sweep, records, monkeypatch
):
  monkeypatch.setenv("STUB_RESUMABLE", "1")
  given = ["--config.mechanisms=killed", "--config.replicates=2"]
  given += [f"--config.lengths={_LENGTHS[-1]}"]
  for times in (1, 2):
    outcome = sweep(*given)
    assert outcome.status == 1
    assert "interrupted, " in outcome.errors and "SIGKILL" in outcome.errors
    # Each of the two replicates, whatever became of the other.
    assert [r["status"] for r in records()] == ["skipped"] * 2
    assert len(outcome.errors.splitlines()) == 2, (times, outcome.errors)
  monkeypatch.setenv("STUB_RESUMABLE", "")
  assert "interrupted" not in sweep(*given).errors


def test_a_comparison_of_nothing_ends_well(sweep, monkeypatch):
  several = stub_sweep.EXPERIMENT._replace(fewest=2)
  monkeypatch.setattr(stub_sweep, "EXPERIMENT", several)
  outcome = sweep("--config.mechanisms=tests.launch.stub:OWN")
  assert outcome.status == 0 and "nothing beside" in outcome.errors


def test_libraries_are_compared_where_there_are_two():
  assert peer_comparison.EXPERIMENT.fewest == 2


def test_every_replicate_of_every_point_is_recorded_once(
    sweep, records, folder
):
  outcome = sweep()
  assert outcome.status == 0 and outcome.errors == ""
  found = records()
  assert sorted((r["point"]["length"], r["replicate"]) for r in found) == [
      (length, replicate) for length in _LENGTHS for replicate in range(3)
  ]
  assert {r["status"] for r in found} == {"ok"}
  assert len({r["key"] for r in found}) == len(_LENGTHS)
  assert {r["experiment"] for r in found} == {"stub_sweep"}
  assert {r["schema"] for r in found} == {1}
  assert {r["machine"] for r in found} == {"0123456789ab"}
  assert {r["ceilings"]["products_per_second"] for r in found} == {1.0}
  assert {r["provenance"] for r in found} == {"measured"}
  assert {p.name for p in folder.iterdir()} == {
      ".cache",
      "config.json",
      "environment.json",
      "fits.json",
      "records.jsonl",
  }
  assert json.loads((folder / "fits.json").read_text()) == {"lines": 12}
  config = json.loads((folder / "config.json").read_text())
  assert config["lengths"] == list(_LENGTHS) and config["replicates"] == 3


def test_huge_pages_are_on_in_workers_and_recorded(sweep, folder, monkeypatch):
  monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
  sweep("--config.replicates=1")
  environment = json.loads((folder / "environment.json").read_text())
  assert environment["tunables"] == (
      "glibc.malloc.check=0:glibc.malloc.hugetlb=1"
  )


def test_a_second_run_measures_nothing_and_adds_nothing(
    sweep, records, measured
):
  sweep()
  before, visits = records(), len(measured())
  assert sweep().status == 0
  assert records() == before
  assert len(measured()) == visits == 12


def test_more_replicates_and_lengths_are_added_to_what_is_there(
    sweep, records, measured
):
  sweep("--config.replicates=2", "--config.lengths=16,32")
  sweep("--config.replicates=3", "--config.lengths=16,32,64")
  assert len(records()) == len(measured()) == 9


def test_replicates_are_processes_one_after_the_other_each_in_its_order(
    sweep, measured
):
  lengths = [2**i for i in range(8)]
  sweep(f"--config.lengths={','.join(map(str, lengths))}")
  visits = measured()
  assert [v["replicate"] for v in visits] == sorted(
      v["replicate"] for v in visits
  )
  pids = [v["pid"] for v in visits]
  assert len(set(pids)) == 3
  orders = [
      tuple(v["length"] for v in visits if v["replicate"] == r)
      for r in range(3)
  ]
  assert len(set(orders)) == 3
  assert all(sorted(visited) == lengths for visited in orders)


def test_the_order_depends_on_seed_and_replicate_alone():
  visited = order.visiting(range(20), 0, 0)
  assert visited == order.visiting(range(20), 0, 0)
  assert sorted(visited) == list(range(20)) != visited
  assert visited != order.visiting(range(20), 1, 0)
  assert visited != order.visiting(range(20), 0, 1)


def test_the_first_replicate_fills_a_cache_that_all_but_the_second_use(
    sweep, measured, folder
):
  sweep("--config.replicates=4", "--config.lengths=16")
  caches = [visit["settings"]["cache"] for visit in measured()]
  cache = str(folder / ".cache")
  assert caches == [cache, None, cache, cache]
  assert (folder / ".cache" / ".gitignore").read_text() == "*\n"


def test_each_point_is_checked_once(sweep, measured):
  sweep()
  gates = [(v["replicate"], v["settings"]["gate"]) for v in measured()]
  assert set(gates) == {(0, True), (1, False), (2, False)}


def test_a_point_that_is_predicted_not_to_fit_the_memory_is_over_budget(
    sweep, records, measured
):
  outcome = sweep("--config.mechanisms=huge")
  assert outcome.status == 0
  for replicate in range(3):
    assert _statuses(records(), replicate) == {
        16: "ok",
        32: "ok",
        64: "over_budget",
        128: "over_budget",
    }
  assert {v["length"] for v in measured()} == {16, 32}
  reasons = {r["reason"] for r in records() if r["status"] == "over_budget"}
  assert all("needs 1,048,576 TiB" in reason for reason in reasons)


def test_a_point_that_is_predicted_too_long_is_over_budget(sweep, records):
  outcome = sweep("--config.mechanisms=slow,steady", "--config.replicates=1")
  assert outcome.status == 0
  slow = [r for r in records() if r["point"]["mechanism"] == "slow"]
  assert _statuses(slow)[64] == _statuses(slow)[128] == "over_budget"
  assert _statuses(slow)[16] == "ok"
  steady = [r for r in records() if r["point"]["mechanism"] == "steady"]
  assert set(_statuses(steady).values()) == {"ok"}


def test_over_budget_is_tried_again_once_there_is_time(
    sweep, records, monkeypatch
):
  monkeypatch.setattr(budget, "START", 0.1)
  monkeypatch.setenv("STUB_SECONDS", "0.3")
  lengths = "--config.lengths=1,2,3,4,5,6,7,8,9,10,11,12"
  first = sweep(lengths, "--config.replicates=1", "--config.budget=3")
  assert first.status == 0
  assert "over_budget" in {r["status"] for r in records()}
  monkeypatch.setenv("STUB_SECONDS", "0")
  assert sweep(lengths, "--config.replicates=1").status == 0
  done = {r["point"]["length"] for r in records() if r["status"] == "ok"}
  assert done == set(range(1, 13))


def test_a_sweep_ends_when_its_time_is_over(
    sweep, records, measured, monkeypatch
):
  monkeypatch.setattr(budget, "START", 0.1)
  before = time.monotonic()
  outcome = sweep(
      "--config.mechanisms=hangs",
      "--config.lengths=64,65,66",
      "--config.budget=7",
      "--config.replicates=1",
      "--config.allowance=3600",
  )
  assert time.monotonic() - before < 60  # it would hang for an hour
  assert outcome.status == 0
  assert {r["status"] for r in records()} == {"over_budget"}
  assert {r["reason"] for r in records()} == {"the sweep's time was over"}
  assert len(measured()) == 1


def test_replicates_for_which_there_was_no_time_say_so(
    sweep, records, monkeypatch
):
  monkeypatch.setattr(budget, "START", 0.1)
  monkeypatch.setenv("STUB_SECONDS", "60")
  sweep("--config.lengths=16", "--config.budget=6", "--config.replicates=3")
  reasons = {r["replicate"]: r["reason"] for r in records()}
  assert reasons == dict.fromkeys(range(3), "the sweep's time was over")


def test_workers_that_cannot_start_end_the_sweep_in_one_line(
    sweep, records, monkeypatch
):
  monkeypatch.setenv("STUB_UNREADY", "1")
  stub_environment = "RuntimeError: the ceilings cannot be measured"
  outcome = sweep()
  assert outcome.status == 1 and records() == []
  assert outcome.errors.count("\n") == 1
  assert stub_environment in outcome.errors


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("STUB_PLACE", "device"),
        ("STUB_PLACE", "machine"),
        ("STUB_PEAK_PLACE", "device"),
    ],
)
def test_a_worker_on_another_device_than_the_sweep_is_refused(
    sweep, records, monkeypatch, variable, name
):
  if variable == "STUB_PEAK_PLACE":
    monkeypatch.setenv("STUB_MEMORY", "peak_bytes_in_use")
  monkeypatch.setenv(variable, json.dumps({name: "cpu"}))
  outcome = sweep()
  assert outcome.status == 1 and records() == []
  assert outcome.errors.count("\n") == 1
  began = {"device": "stub", "machine": "0123456789ab"}[name]
  assert f"{name} of a worker: expected {began}, where the" in outcome.errors
  assert "got cpu" in outcome.errors


def test_nothing_a_worker_has_started_outlives_it(sweep, measured):
  sweep("--config.mechanisms=leaves", "--config.replicates=1")
  assert not _groups() & {visit["pid"] for visit in measured()}


def test_a_dry_run_writes_nothing_and_says_what_would_happen(
    sweep, tmp_path, records, measured
):
  arguments = ("--config.mechanisms=steady,huge,slow,unplanned", "--dry_run")
  outcome = sweep(*arguments)
  assert outcome.status == 0 and outcome.errors == ""
  assert not (tmp_path / "out").exists() and not measured()
  lines = {
      tuple(line.split()[::2][:1] + [line.split()[2]]): line
      for line in outcome.out.splitlines()[1:-1]
  }
  assert len(lines) == 16
  for name, word in (
      ("steady", "measure"),
      ("huge", "over_budget: needs 1,048,576 TiB"),
      ("slow", "over_budget: takes 5e+06 s"),
      ("unplanned", "refused: ValueError"),
  ):
    assert word in lines[f"{name}.direct", "n=128"]
  assert "16 points, 10 to measure" in outcome.out
  sweep("--config.lengths=16,32", "--config.replicates=3")
  before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
  outcome = sweep("--dry_run")
  assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
  assert outcome.out.count("3/3") == outcome.out.count("done\n") - 0 == 2
  assert "4 points, 2 to measure" in outcome.out


def test_a_users_own_mechanism_is_swept_under_the_name_it_was_given(
    sweep, records
):
  own = "tests.launch.stub:OWN"
  assert (
      sweep(f"--config.mechanisms={own}", "--config.replicates=1").status == 0
  )
  assert {r["point"]["mechanism"] for r in records()} == {own}


def test_every_nth_point_goes_to_each_worker(sweep, records):
  shares = []
  for worker in ("0/3", "1/3", "2/3"):
    before = len(records())
    sweep(f"--worker={worker}", "--config.replicates=1")
    shares.append({r["point"]["length"] for r in records()[before:]})
  assert shares == [{16, 128}, {32}, {64}]


def test_a_share_without_points_does_nothing_and_is_no_failure(sweep, folder):
  outcome = sweep("--worker=7/8")
  assert outcome == (0, "", "")
  assert not (folder / "records.jsonl").exists()


@pytest.mark.parametrize(
    "name, lengths, total",
    [
        ("steady", "16,32,64", 9),
        ("slow", "16,32,64", 6),  # the last one is over budget
        ("wrong", "64,65,66,67", 12),  # most are skipped
    ],
)
def test_progress_counts_up_to_the_whole_and_its_time_left_goes_to_zero(
    tmp_path, name, lengths, total
):
  seen = []
  experiment = stub_sweep.EXPERIMENT._replace(progress=seen.append)
  mechanism, grid = f"--config.mechanisms={name}", f"--config.lengths={lengths}"
  command.run(["x", f"--out={tmp_path}", mechanism, grid], experiment)
  visits = len({p.done for p in seen})
  assert [p.done for p in seen[:visits]] == list(range(1, visits + 1))
  assert seen[0].total == total
  assert all(p.done <= p.total for p in seen)
  assert seen[-1].done == seen[-1].total == visits
  assert all(p.seconds_left >= 0 for p in seen)
  assert seen[-1].seconds_left < 1 or name == "slow"
  assert all("forward n=" in p.point for p in seen)


def test_damaged_lines_are_named_and_measured_again(sweep, folder):
  sweep("--config.replicates=1")
  path = folder / "records.jsonl"
  lines = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(b"".join([lines[0], lines[1][:50] + b"\n", *lines[2:]]))
  outcome = sweep("--config.replicates=1")
  assert outcome.status == 0
  assert f"{path}: line 2: " in outcome.errors
  assert outcome.errors.count("\n") == 1
  assert len(path.read_bytes().splitlines()) == 5
  assert os.path.exists(folder / "fits.json")
