"""The store under many writers and kill -9: nothing acknowledged is lost."""

from collections import Counter
from collections.abc import Iterable
import json
import os
from pathlib import Path
import random
import select
import subprocess
import sys
import time
from typing import Any, NamedTuple

import pytest

from lalm import store
from tests.oracles import record_writer

ROOT = Path(__file__).resolve().parent.parent
WRITER = ROOT / "tests" / "oracles" / "record_writer.py"
SIZE = 120  # Records of a stub sweep.


def _start(
    path: Path, indices: Iterable[int], **fault: Any
) -> subprocess.Popen:
  job = {"path": str(path), "indices": list(indices), "fault": None}
  # The store needs no package: -S leaves them out and starts sooner.
  return subprocess.Popen(
      [sys.executable, "-S", str(WRITER), json.dumps(job | fault)],
      env=os.environ | {"PYTHONPATH": str(ROOT)},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
  )


def _acknowledged(writer: subprocess.Popen) -> list[int]:
  """Waits for the end; indices whose append has returned."""
  output, _ = writer.communicate()
  return [int(line) for line in output.split() if line.isdigit()]


def _verify(path: Path, acknowledged: Iterable[int]) -> store.Contents:
  """Each acknowledged record is there, each record once, none altered."""
  contents = store.load(path)
  counts = Counter(int(record["key"], 16) for record in contents.records)
  assert not set(acknowledged) - set(counts), "an acknowledged record is lost"
  assert set(counts.values()) <= {1}, "a record is doubled"
  for record in contents.records:
    assert record == record_writer.record(int(record["key"], 16))
  return contents


def test_eight_processes_at_once_tear_and_double_nothing(
    tmp_path: Path,
) -> None:
  path = tmp_path / "records.jsonl"
  split = {"fault": "in_two", "at": None, "share": 0.5}
  writers = [
      _start(path, range(i, 400, 8), **(split if i % 2 else {}))
      for i in range(8)
  ]
  acknowledged = [i for writer in writers for i in _acknowledged(writer)]
  assert sorted(acknowledged) == list(range(400))
  contents = _verify(path, acknowledged)
  assert len(contents.records) == 400 and not contents.damage
  assert all(writer.returncode == 0 for writer in writers)


def test_killed_writers_among_eight_harm_no_other(tmp_path: Path) -> None:
  path = tmp_path / "records.jsonl"
  draw = random.Random(8)
  writers = []
  for i in range(8):
    fault = {"fault": "die", "at": 5 + i, "share": draw.random()}
    writers.append(_start(path, range(i, 240, 8), **(fault if i % 2 else {})))
  acknowledged = [i for writer in writers for i in _acknowledged(writer)]
  assert [w.returncode for w in writers] == [0, -9] * 4
  # The even ones write all of theirs; the odd ones are killed in write 5 + i.
  assert len(acknowledged) == 4 * 30 + sum(5 + i for i in range(1, 8, 2))
  contents = _verify(path, acknowledged)
  assert len(contents.damage) == 4
  finish = _acknowledged(_start(path, range(240)))
  contents = _verify(path, acknowledged + finish)
  assert len(contents.records) == 240


def test_a_failed_write_undoes_no_other_writers_record(tmp_path: Path) -> None:
  path = tmp_path / "records.jsonl"
  _acknowledged(_start(path, range(3)))
  failing = _start(path, [10], fault="stop_short", at=0, share=0.5)
  assert failing.stdout.readline() == b"writing\n"
  other = _start(path, [20])
  # Without a lock the other would be done by now, and be cut off after it.
  select.select([other.stdout], [], [], 1.0)
  failing.stdin.write(b"\n")
  assert _acknowledged(failing) == [] and failing.returncode == 3
  assert _acknowledged(other) == [20]
  contents = _verify(path, [0, 1, 2, 20])
  assert len(contents.records) == 4 and not contents.damage


class Tally(NamedTuple):
  """What a campaign of kills came to."""

  kills: int  # Writers that died of SIGKILL.
  inside: int  # Of these, inside a write of a record.
  torn: int  # Lines found damaged after a sweep.
  records: int  # Acknowledged records.
  sweeps: int  # Stub sweeps brought to their end.


def _measure_life(path: Path) -> float:
  """Seconds an undisturbed sweep takes here, start included."""
  began = time.perf_counter()
  _acknowledged(_start(path, range(SIZE)))
  return time.perf_counter() - began


def _campaign(folder: Path, kills: int, seed: int) -> Tally:
  """Kills sweeps, by turns at random times and inside a write; resumes each."""
  draw = random.Random(seed)
  life = _measure_life(folder / "undisturbed")
  total = Tally(0, 0, 0, 0, 0)
  while total.kills < kills:
    path = folder / f"{total.sweeps}.jsonl"
    acknowledged: list[int] = []
    died, inside = 0, 0
    while len(_verify(path, acknowledged).records) < SIZE:
      if draw.random() < 0.5:
        share, at = draw.random(), draw.randrange(SIZE // 4)
        writer = _start(path, range(SIZE), fault="die", at=at, share=share)
        new = _acknowledged(writer)
        inside += writer.returncode == -9
      else:
        writer = _start(path, range(SIZE))
        time.sleep(draw.uniform(0, life))
        writer.kill()
        new = _acknowledged(writer)
      assert not set(new) & set(acknowledged), "an index was measured twice"
      assert writer.returncode in (0, -9)
      died += writer.returncode == -9
      acknowledged += new
    contents = _verify(path, acknowledged)
    # Only a kill inside a write may leave a torn line.
    assert len(contents.damage) <= died
    kept = [(r["key"], r["replicate"]) for r in contents.records]
    assert set(kept) == {(f"{i:016x}", i % 5) for i in range(SIZE)}
    total = Tally(
        total.kills + died,
        total.inside + inside,
        total.torn + len(contents.damage),
        total.records + len(acknowledged),
        total.sweeps + 1,
    )
    path.unlink()
  print(f"lost 0, doubled 0: {total}")
  return total


def test_kills_lose_and_double_no_acknowledged_record(tmp_path: Path) -> None:
  tally = _campaign(tmp_path, kills=30, seed=1)
  assert tally.inside >= 7 and tally.torn >= 4


@pytest.mark.slow
def test_a_thousand_kills_lose_and_double_no_acknowledged_record(
    tmp_path: Path,
) -> None:
  tally = _campaign(tmp_path, kills=1000, seed=2)
  assert tally.inside >= 200 and tally.torn >= 150
