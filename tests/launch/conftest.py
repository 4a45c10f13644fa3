"""Sweeps of the stub, in this process and in processes of their own."""

import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import NamedTuple

import pytest

from lalm import store
from lalm.launch import command
from tests.launch import stub_sweep

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
  status: int
  out: str
  errors: str


@pytest.fixture(autouse=True)
def _in_the_root(monkeypatch):
  monkeypatch.chdir(ROOT)
  monkeypatch.setenv("PYTHONPATH", str(ROOT))
  for name in list(os.environ):
    if name.startswith("STUB_"):
      monkeypatch.delenv(name)


@pytest.fixture
def call(capfd):
  """Runs the command in this process."""

  def run(*arguments):
    capfd.readouterr()
    status = command.run(["stub_sweep", *arguments], stub_sweep.EXPERIMENT)
    return Outcome(status, *capfd.readouterr())

  return run


@pytest.fixture
def sweep(call, tmp_path, monkeypatch):
  """Runs a sweep in this process into the test's folder."""
  monkeypatch.setenv("STUB_LOG", str(tmp_path / "log"))

  def run(*arguments):
    return call(f"--out={tmp_path / 'out'}", *arguments)

  return run


@pytest.fixture
def start(tmp_path):
  """Starts a sweep in a process of its own; whatever is left is killed."""
  started = []

  def run(*arguments, **variables):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.launch.stub_sweep",
            f"--out={tmp_path / 'out'}",
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
        # A shell starts what runs in the background deaf to Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    started.append(process)
    return process

  yield run
  for process in started:
    process.kill()
    process.communicate()


@pytest.fixture
def folder(tmp_path):
  return tmp_path / "out" / "stub-device-2"


@pytest.fixture
def records(folder):
  """The records so far; every line must be intact."""

  def read():
    contents = store.load(folder / "records.jsonl")
    assert not contents.damage
    return contents.records

  return read


@pytest.fixture
def measured(tmp_path):
  """What the stub was asked to measure, in order."""

  def read():
    log = tmp_path / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [json.loads(line) for line in lines]

  return read
