"""A sweep that is ended at any moment loses nothing and leaves nothing half."""

import concurrent.futures
import json
import os
import pathlib
import random
import select
import signal
import time
from typing import NamedTuple

import pytest

from lalm import store

_LENGTHS = tuple(range(1, 13))
_ARGUMENTS = (
    f"--config.lengths={','.join(map(str, _LENGTHS))}",
    "--config.replicates=2",
    "--config.point_budget=0.001",
)
_GUARD = 300.0  # seconds until a test that hangs is given up
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


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("measuring", signal.SIGINT),
        pytest.param("measuring", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("writing", signal.SIGINT, marks=pytest.mark.slow),
        ("writing", signal.SIGTERM),
    ],
)
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
  written = lambda: log.exists() and log.read_text().endswith("\n")
  while not written() and time.monotonic() < limit:
    time.sleep(0.01)
  pid = json.loads(log.read_text())["pid"]
  while process.poll() is None and time.monotonic() < limit:
    process.send_signal(number)  # an impatient user
    time.sleep(0.002)
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


class _Subject(NamedTuple):
  """A sweep to be killed: its arguments, variables and what it holds whole."""

  arguments: tuple[str, ...]
  variables: dict[str, str]
  lengths: tuple[int, ...]
  device: str  # pattern of the device's folder

  def whole(self):
    return sorted((n, r) for n in self.lengths for r in range(2))


_STUB = _Subject(_ARGUMENTS, {}, _LENGTHS, "stub-device-2")
_REAL = _Subject(
    (
        "--config.forms=linear.chunkwise",
        "--config.passes=forward",
        "--config.lengths=16,32,64",
        "--config.replicates=2",
        "--config.point_budget=0.01",
        "--config.budget=600",
    ),
    {"STUB_REAL": "1"},
    (16, 32, 64),
    "*",
)


class _Killer:
  """Kills sweeps at moments uniform over their time, some within a write.

  Attributes:
    kills: how many have met a running sweep.
    inside: how many of them have left half a line.
  """

  def __init__(self, start, folder, subject, seed):
    self.kills = self.inside = 0
    self._start, self._folder, self._subject = start, folder, subject
    self._generator = random.Random(seed)
    self._sweeps = self._torn = 0
    began = time.monotonic()
    self._keys = self._finish()
    self._duration = time.monotonic() - began

  def run(self, kills, inside):
    """Kills until there are so many, and so many inside a write."""
    while self.kills < kills or self.inside < inside:
      if self._kill(self.inside < inside):
        assert self._held() == self._keys, "other keys than unkilled"
      elif self._generator.random() < 0.1:
        assert self._finish() == self._keys, "other keys than unkilled"
    # A worker looks for its parent now and then, so an orphan has a moment.
    limit = time.monotonic() + _GUARD
    while _workers(str(self._folder).encode()):
      assert time.monotonic() < limit, "an orphan goes on"
      time.sleep(0.1)

  def _paths(self):
    out = self._folder / f"sweep{self._sweeps}"
    found = [*out.glob(self._subject.device), out / "none"]
    return out, found[0], self._folder / f"ack{self._sweeps}"

  def _launch(self, **more):
    out, _, ack = self._paths()
    variables = self._subject.variables | {"STUB_ACK": str(ack)} | more
    return self._start(*self._subject.arguments, f"--out={out}", **variables)

  def _kill(self, within):
    """Kills one sweep; whether it had finished before."""
    within = within and self._generator.random() < 0.5
    process = self._launch(**({"STUB_WRITES": "0.02"} if within else {}))
    moment = self._generator.uniform(0, self._duration)
    self.kills += _kill_at(process, moment, within)
    _, folder, ack = self._paths()
    identities, damage = _identities(folder)
    self.inside += len(damage) - self._torn
    self._torn = len(damage)
    assert len(identities) == len(set(identities)), "a record is doubled"
    assert _acknowledged(ack) <= set(identities), "a record is lost"
    return process.returncode == 0

  def _finish(self):
    """Lets the sweep go on to its end; what it holds then."""
    last = self._launch()
    _, errors = last.communicate(timeout=_GUARD)
    assert last.returncode == 0, errors
    return self._held()

  def _held(self):
    """What a finished sweep holds; the next one begins anew."""
    _, folder, _ = self._paths()
    identities, _ = _identities(folder)
    assert len(identities) == len(set(identities))
    assert _whole(folder) == self._subject.whole()
    self._sweeps, self._torn = self._sweeps + 1, 0
    return sorted(identities)


def test_no_kill_loses_or_doubles_a_record(start, tmp_path):
  killer = _Killer(start, tmp_path, _STUB, seed=1)
  killer.run(16, 4)
  assert killer.kills >= 16 and killer.inside >= 4


@pytest.mark.slow
def test_a_thousand_kills_lose_and_double_no_record(start, tmp_path):
  def half(seed):
    (tmp_path / str(seed)).mkdir()
    killer = _Killer(start, tmp_path / str(seed), _STUB, seed)
    killer.run(500, 100)
    return killer

  with concurrent.futures.ThreadPoolExecutor(2) as threads:
    killers = list(threads.map(half, (2, 3)))
  kills = sum(killer.kills for killer in killers)
  inside = sum(killer.inside for killer in killers)
  print(f"{kills} kills, {inside} inside a write")
  assert kills >= 1000 and inside >= 200


@pytest.mark.slow
def test_twenty_kills_of_real_kernels_lose_and_double_no_record(
    start, tmp_path
):
  killer = _Killer(start, tmp_path, _REAL, seed=0)
  killer.run(20, 0)
  print(f"{killer.kills} kills of real kernels")
  assert killer.kills >= 20
