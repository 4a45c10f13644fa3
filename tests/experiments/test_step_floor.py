"""A small run of `step_floor` from its command line to its table."""

import json
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SMALL = [
    "--config.mechanisms=mamba2", "--config.lengths=4", "--config.batch=1",
    "--config.heads=1", "--config.width=8", "--config.value_width=8",
    "--config.replicates=1", "--config.point_budget=0.01",
]  # fmt: skip


def _run(*arguments):
  return subprocess.run(
      [sys.executable, "-m", "experiments.step_floor", *arguments],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
  )


def test_a_small_run_ends_in_a_table(tmp_path):
  done = _run(*_SMALL, f"--out={tmp_path}")
  assert done.returncode == 0, done.stderr
  (table,) = tmp_path.glob("*/table.md")
  assert "| mamba2 | 260 B |" in table.read_text()
  assert "4 steps in a compiled scan" in done.stdout
  (records,) = tmp_path.glob("*/records.jsonl")
  (record,) = map(json.loads, records.read_text().splitlines())
  assert record["status"] == "ok" and record["floors"]["state_bytes"] == 260


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--config.causal=False", "--config.causal: expected True; got False"),
        ("--config.passes=forward_backward", "passes: expected 'forward'; got"),
    ],
)
def test_steps_of_another_kind_are_refused(tmp_path, flag, words):
  done = _run(*_SMALL, flag, f"--out={tmp_path}")
  assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
  assert words in done.stderr
  assert not list(tmp_path.iterdir())


def test_a_mechanism_with_a_growing_state_is_refused_in_a_line(tmp_path):
  done = _run("--config.mechanisms=softmax", f"--out={tmp_path}")
  assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
  assert "recurrent and step" in done.stderr
