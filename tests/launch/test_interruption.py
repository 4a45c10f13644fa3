"""A sweep that is ended at any moment loses nothing and leaves nothing half."""

import collections
import json
import os
import pathlib
import random
import select
import signal
import time

import pytest

from lalm import store

_LENGTHS = tuple(range(1, 13))
_ARGUMENTS = (
    f"--config.lengths={','.join(map(str, _LENGTHS))}",
    "--config.replicates=2",
    "--config.point_budget=0.001",
)
_GUARD = 60.0  # seconds until a test that hangs is given up
_PROMPT = 5.0  # seconds within which an interrupted sweep is over


def _identities(folder):
  """(key, replicate) of each record; every line must be as it was written."""
  contents = store.load(folder / "records.jsonl")
  return [(r["key"], r["replicate"]) for r in contents.records], contents.damage


def _acknowledged(path):
  lines = path.read_text().splitlines() if path.exists() else []
  return {(key, int(r)) for key, r, _ in map(str.split, lines)}


def _whole(folder):
  """The identities a whole sweep holds: each length in each replicate."""
  records = store.load(folder / "records.jsonl").records
  return sorted((r["point"]["length"], r["replicate"]) for r in records)


def _wait_for(process, word):
  """Waits until the process has printed a line with the word."""
  limit = time.monotonic() + _GUARD
  while time.monotonic() < limit:
    if select.select([process.stdout], [], [], 0.1)[0]:
      line = os.read(process.stdout.fileno(), 8).decode()
      if word in line:
        return True
      if not line:
        return False
  return False


def _workers(group):
  """Processes whose parent or group is the given one, or orphans of it."""
  found = []
  for process in pathlib.Path("/proc").glob("[0-9]*"):
    try:
      words = (process / "cmdline").read_bytes().split(b"\0")
      variables = (process / "environ").read_bytes()
      stat = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
      continue
    if stat[0] != "Z" and group in variables and b"-m" in words:
      found.append(int(process.name))
  return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["measuring", "writing"])
def test_a_signal_ends_the_sweep_and_the_same_command_goes_on(
    start, folder, tmp_path, number, moment
):
  log = tmp_path / "log"
  variables = {"STUB_LOG": str(log), "STUB_SECONDS": "0.05"}
  if moment == "writing":
    variables["STUB_WRITES"] = "0.5"
  process = start(*_ARGUMENTS, **variables)
  if moment == "writing":
    assert _wait_for(process, "writing")
  else:
    limit = time.monotonic() + _GUARD
    while not log.exists() and time.monotonic() < limit:
      time.sleep(0.01)
  sent = time.monotonic()
  process.send_signal(number)
  _, errors = process.communicate(timeout=_GUARD)
  assert time.monotonic() - sent < _PROMPT  # what a user is promised
  assert process.returncode == 128 + number
  assert errors.count("\n") == 1 and number.name in errors
  assert not _workers(str(log).encode())
  identities, damage = _identities(folder)
  assert not damage
  assert 0 < len(identities) + (moment == "measuring") < 24
  again = start(*_ARGUMENTS)
  assert again.wait(_GUARD) == 0
  assert _whole(folder) == sorted((n, r) for n in _LENGTHS for r in range(2))
  assert _identities(folder)[0][: len(identities)] == identities


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_worker_hangs_is_heard(start, tmp_path, number):
  log = tmp_path / "log"
  process = start(
      "--config.mechanisms=hangs", "--config.lengths=64", STUB_LOG=str(log)
  )
  limit = time.monotonic() + _GUARD
  while not log.exists() and time.monotonic() < limit:
    time.sleep(0.01)
  pid = json.loads(log.read_text())["pid"]
  process.send_signal(number)
  process.send_signal(number)  # an impatient user
  process.communicate(timeout=_GUARD)
  assert process.returncode == 128 + number
  assert pid not in _workers(str(log).encode())


def _kill_at(process, moment, words):
  """Kills -9 after so many seconds, or inside the write that follows.

  Returns:
    Whether the sweep still ran.
  """
  limit = time.monotonic() + moment
  while process.poll() is None and time.monotonic() < limit:
    time.sleep(min(0.005, max(0.0, limit - time.monotonic())))
  if words and process.poll() is None:
    _wait_for(process, "writing")
  running = process.poll() is None
  process.kill()
  process.wait()
  process.stdout.close()
  process.stderr.close()
  return running


def _kill_sweeps(start, tmp_path, kills, inside, seed):
  """Kills sweeps at moments uniform over their time, some within a write.

  Returns:
    How many kills met a running sweep, and how many of them a write.
  """
  generator = random.Random(seed)
  counts, sweep, whole = collections.Counter(), 0, None
  duration, torn = 1.0, 0
  while counts["kills"] < kills or counts["inside"] < inside:
    folder = tmp_path / f"sweep{sweep}" / "stub-device-2"
    ack = tmp_path / f"ack{sweep}"
    arguments = (*_ARGUMENTS, f"--out={folder.parent}")
    words = counts["inside"] < inside and generator.random() < 0.5
    process = start(
        *arguments,
        STUB_ACK=str(ack),
        **({"STUB_WRITES": "0.02"} if words else {}),
    )
    moment = generator.uniform(0, duration)
    counts["kills"] += _kill_at(process, moment, words)
    identities, damage = _identities(folder)
    counts["inside"] += len(damage) - torn  # the line under way was torn
    torn = len(damage)
    assert len(identities) == len(set(identities)), "a record is doubled"
    assert _acknowledged(ack) <= set(identities), "a record is lost"
    if process.returncode == 0 or generator.random() < 0.2:
      began = time.monotonic()
      last = start(*arguments, STUB_ACK=str(ack))
      out, errors = last.communicate(timeout=_GUARD)
      assert last.returncode == 0, errors
      duration = max(duration, time.monotonic() - began)
      identities, _ = _identities(folder)
      assert len(identities) == len(set(identities)) == 24
      assert _whole(folder) == sorted(
          (n, r) for n in _LENGTHS for r in range(2)
      )
      assert whole in (None, sorted(identities))
      whole, sweep, torn = sorted(identities), sweep + 1, 0
  assert not _workers(str(tmp_path).encode())
  return counts


def test_no_kill_loses_or_doubles_a_record(start, tmp_path):
  counts = _kill_sweeps(start, tmp_path, 16, 4, seed=1)
  assert counts["kills"] >= 16 and counts["inside"] >= 4


@pytest.mark.slow
def test_a_thousand_kills_lose_and_double_no_record(start, tmp_path):
  counts = _kill_sweeps(start, tmp_path, 1000, 200, seed=0)
  print(f"{counts['kills']} kills, {counts['inside']} inside a write")
  assert counts["kills"] >= 1000 and counts["inside"] >= 200
