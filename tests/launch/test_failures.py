"""Points that fail: recorded with a reason, their curve ends, the sweep not."""

import collections

import pytest

from tests.launch import stub

_ALLOWANCE = "--config.allowance=3"  # seconds until a point counts as hanging
# Mechanism; the status of its points from length 64 on; words of the reason.
_FAILURES = [
    ("wrong", "wrong", "relative error 1"),
    ("nan", "not_finite", "not finite"),
    ("raises", "crashed", "RuntimeError: first line"),
    ("exhausted", "out_of_memory", "cannot allocate"),
    ("exits", "crashed", "the last words"),
    ("killed", "out_of_memory", "SIGKILL"),
    ("aborts", "out_of_memory", "bad_alloc"),
    ("leaves", "crashed", "exit status 4"),
    ("odd", "crashed", "splendid"),
    ("hangs", "timeout", "no answer within"),
    ("silent", "timeout", "no answer within"),
    ("unplanned", "refused", "expected less"),
    ("planless", "crashed", "exit status 7"),
]


@pytest.mark.parametrize("name, status, reason", _FAILURES)
def test_a_failed_point_is_recorded_and_the_sweep_goes_on(
    sweep, records, name, status, reason
):
  arguments = [f"--config.mechanisms={name},steady", _ALLOWANCE]
  outcome = sweep(
      *arguments,
      "--config.forms=direct",
      "--config.replicates=1",
      "--config.lengths=16,64",
  )
  assert outcome.status == 1
  found = {
      (r["point"]["mechanism"], r["point"]["length"]): r for r in records()
  }
  assert len(found) == 4
  failed = found[name, 64]
  assert failed["status"] == status and reason in failed["reason"]
  assert failed["point"]["mechanism"] == name and failed["replicate"] == 0
  assert failed["machine"] == "0123456789ab" and failed["device"] == "stub"
  assert failed["versions"] == {"stub": "1"}
  assert not failed.get("seconds")
  others = [r["status"] for key, r in found.items() if key != (name, 64)]
  assert others == ["ok"] * 3
  assert outcome.errors.count("\n") == 1
  assert f"{name}.direct forward n=64: {status}" in outcome.errors


def test_a_point_that_spoils_the_device_costs_no_other(
    sweep, records, measured
):
  sweep("--config.mechanisms=spoils,steady", "--config.replicates=1")
  found = {
      (r["point"]["mechanism"], r["point"]["length"]): r["status"]
      for r in records()
      if r["status"] != "skipped"
  }
  crashed = [place for place, status in found.items() if status == "crashed"]
  assert crashed and {name for name, _ in crashed} == {"spoils"}
  assert min(length for _, length in crashed) == stub.FROM
  others = [status for place, status in found.items() if place not in crashed]
  assert len(others) == 6 and set(others) == {"ok"}
  visits = {(e["mechanism"], e["length"]): e["pid"] for e in measured()}
  assert len(set(visits.values())) > 1


def test_garbage_on_standard_output_reaches_nobody(sweep, records):
  outcome = sweep("--config.mechanisms=garbage")
  assert outcome.status == 0
  assert [r["status"] for r in records()] == ["ok"] * 12


def test_whose_record_it_is_is_not_the_workers_word(sweep, records):
  sweep("--config.mechanisms=impostor", "--config.lengths=16,64")
  found = records()
  assert len(found) == 6 and len({r["key"] for r in found}) == 2
  assert {r["replicate"] for r in found} == {0, 1, 2}
  assert {r["point"]["length"] for r in found} == {16, 64}
  assert {r["experiment"] for r in found} == {"stub_sweep"}


@pytest.mark.parametrize("name", ["wrong", "killed"])
def test_no_length_above_a_failed_one_is_recorded_after_it(
    sweep, records, name
):
  lengths = [16, *range(64, 80)]
  sweep(
      f"--config.mechanisms={name}",
      f"--config.lengths={','.join(map(str, lengths))}",
      "--config.replicates=2",
      "--config.budget=600",
  )
  failed = 10**9  # the smallest length that has failed so far
  for record in records():
    if record["status"] == "skipped":
      assert " at length " in record["reason"] or (
          " in another replicate" in record["reason"]
      )
      continue
    length = record["point"]["length"]
    assert length <= failed
    failed = min(failed, length) if length >= stub.FROM else failed
  counted = collections.Counter(
      (r["point"]["length"], r["replicate"]) for r in records()
  )
  assert set(counted) == {(n, r) for n in lengths for r in range(2)}
  assert set(counted.values()) == {1}
  assert "skipped" in {r["status"] for r in records()}


def test_a_failure_skips_its_own_curve_only(sweep, records):
  sweep(
      "--config.mechanisms=wrong,steady",
      "--config.lengths=16,64,128",
      "--config.passes=forward,forward_backward",
      "--config.replicates=1",
  )
  steady = [r for r in records() if r["point"]["mechanism"] == "steady"]
  assert [r["status"] for r in steady] == ["ok"] * 6


def test_a_wrong_point_is_not_tried_in_later_replicates(sweep, measured):
  sweep("--config.mechanisms=wrong", "--config.lengths=64")
  assert len(measured()) == 1


def test_a_worker_that_is_killed_once_costs_one_replicate_of_one_point(
    sweep, records
):
  lengths = f"--config.lengths={','.join(map(str, (16, *range(64, 70))))}"
  first = sweep("--config.mechanisms=flaky", lengths)
  assert first.status == 1
  for replicate in (1, 2):
    found = [r for r in records() if r["replicate"] == replicate]
    assert [r["status"] for r in found] == ["ok"] * 7
