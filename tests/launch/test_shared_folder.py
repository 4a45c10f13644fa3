"""Many sweeps in one folder, full disks and folders that refuse."""

import errno
import json
import os
import resource

import pytest

from lalm import store
from lalm.launch import ledger

_LENGTHS = ",".join(map(str, range(1, 17)))
_GUARD = 120.0  # seconds until a test that hangs is given up


def _whole(records):
  return sorted((r["point"]["length"], r["replicate"]) for r in records)


@pytest.mark.parametrize("shares", [True, False])
def test_eight_workers_in_one_folder_write_each_record_once(
    start, folder, records, shares
):
  # Time enough: what is over budget may be recorded before what is measured.
  own = ("replicates=2", "budget=600")
  arguments = [f"--config.lengths={_LENGTHS}", *map("--config.{}".format, own)]
  processes = [
      start(*arguments, *([f"--worker={i}/8"] if shares else []))
      for i in range(8)
  ]
  for process in processes:
    out, errors = process.communicate(timeout=_GUARD)
    assert process.returncode == 0, errors
    assert errors == ""
  assert _whole(records()) == [(n, r) for n in range(1, 17) for r in range(2)]
  lines = (folder / "records.jsonl").read_bytes().count(b"\n")
  assert lines == 32
  # Whoever finished last saw all that the others had written.
  assert json.loads((folder / "fits.json").read_text()) == {"lines": 32}


def _refuse(monkeypatch, number, begins, after):
  """Lets writes of such data fail from some number of them on."""
  write, seen = os.write, []

  def refusing(descriptor, data):
    if bytes(data[: len(begins)]) == begins:
      seen.append(data)
      if len(seen) > after:
        raise OSError(number, os.strerror(number))
    return write(descriptor, data)

  monkeypatch.setattr(os, "write", refusing)


@pytest.mark.parametrize(
    "number, words",
    [
        (errno.ENOSPC, "disk full"),
        (errno.EDQUOT, "disk quota"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "nput/output error"),
    ],
)
def test_a_disk_that_refuses_is_one_line_that_names_the_path(
    sweep, folder, records, monkeypatch, number, words
):
  with monkeypatch.context() as patch:
    _refuse(patch, number, b'{"checksum"', after=5)
    outcome = sweep()
  assert outcome.status == 1
  assert outcome.errors.count("\n") == 1 and words in outcome.errors
  assert f"stub_sweep: {folder / 'records.jsonl'}: " in outcome.errors
  before = records()
  assert len(before) == 5
  assert sweep().status == 0
  assert records()[:5] == before
  assert _whole(records()) == [
      (n, r) for n in (16, 32, 64, 128) for r in range(3)
  ]


def test_a_limit_met_inside_a_line_leaves_every_earlier_line(
    start, folder, records
):
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
  try:
    process = start()
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  _, errors = process.communicate(timeout=_GUARD)
  assert process.returncode == 1
  assert errors.count("\n") == 1 and str(folder / "records.jsonl") in errors
  before = records()
  assert 0 < len(before) < 12
  assert start().wait(_GUARD) == 0
  assert records()[: len(before)] == before and len(records()) == 12


@pytest.mark.parametrize("name", ["config.json", "environment.json"])
def test_a_side_file_that_cannot_be_written_is_one_line(sweep, folder, name):
  (folder / name).mkdir(parents=True)
  outcome = sweep()
  assert outcome.status == 1
  assert outcome.errors.count("\n") == 1
  assert str(folder / name) in outcome.errors


def test_a_device_folder_that_is_a_file_is_one_line(sweep, folder):
  folder.parent.mkdir()
  folder.write_text("")
  outcome = sweep()
  assert outcome.status == 1
  assert outcome.errors.count("\n") == 1 and str(folder) in outcome.errors


def _record(status, replicate=0, **fields):
  return {"key": "k", "replicate": replicate, "status": status, **fields}


def test_a_record_is_added_once_and_one_not_tried_gives_way(tmp_path):
  records = ledger.Ledger(tmp_path)
  assert records.add(_record("over_budget"))
  assert not records.add(_record("skipped"))
  assert not records.tried("k", 0)
  assert records.add(_record("crashed"))
  assert records.tried("k", 0)
  for status in ("ok", "over_budget", "crashed"):
    assert not records.add(_record(status))
  assert records.add(_record("ok", 1))
  assert [r["status"] for r in records.of("k")] == ["crashed", "ok"]
  again = ledger.Ledger(tmp_path)
  assert again.of("k") == records.of("k")
  lines = store.load(tmp_path / "records.jsonl").records
  assert [r["status"] for r in lines] == ["over_budget", "crashed", "ok"]


def test_another_process_s_record_counts_though_it_was_not_seen(tmp_path):
  mine, others = ledger.Ledger(tmp_path), ledger.Ledger(tmp_path)
  assert others.add(_record("ok", by="others"))
  assert not mine.add(_record("ok", by="me"))
  assert mine.find("k", 0)["by"] == "others"


def test_lines_that_are_no_records_of_ours_are_left_alone(tmp_path):
  store.append(tmp_path / "records.jsonl", {"schema": 9, "other": "thing"})
  records = ledger.Ledger(tmp_path)
  assert records.of("k") == [] and records.damage == []
  assert records.add(_record("ok"))
