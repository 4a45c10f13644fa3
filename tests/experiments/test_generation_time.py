"""A small run of `generation_time` from its command line to its table."""

import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SMALL = [
    "--config.lengths=3", "--config.layers=1", "--config.heads=1",
    "--config.width=8", "--config.value_width=8", "--config.replicates=1",
    "--config.point_budget=0.01",
]  # fmt: skip


def _run(*arguments):
  return subprocess.run(
      [sys.executable, "-m", "experiments.generation_time", *arguments],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
  )


def test_a_small_run_ends_in_a_table(tmp_path):
  done = _run(*_SMALL, f"--out={tmp_path}")
  assert done.returncode == 0, done.stderr
  (table,) = tmp_path.glob("*/table.md")
  text = table.read_text()
  assert "| 3 | 1 | softmax, no cache (integral) |" in text
  assert "| 3 | 1 | linear, its state |" in text and text in done.stdout


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--config.layers=0", "layers: expected an integer from 1 to 96"),
        ("--config.passes=forward_backward", "passes: expected 'forward'; got"),
        ("--config.mechanisms=mamba2", "no gates, got 'mamba2'"),
        ("--config.forms=chunkwise", "--config.forms: expected some of"),
    ],
)
def test_what_cannot_be_generated_is_refused_in_a_line(tmp_path, flag, words):
  done = _run(*_SMALL, flag, f"--out={tmp_path}")
  assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
  assert words in done.stderr
  assert not list(tmp_path.iterdir())
