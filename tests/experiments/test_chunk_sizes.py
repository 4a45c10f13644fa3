"""The experiment of chunk sizes, run small and refused."""

import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(*arguments):
  return subprocess.run(
      [sys.executable, "-m", "experiments.chunk_sizes", *arguments],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
  )


def test_a_small_run_ends_in_a_table(tmp_path):
  done = _run(
      "--config.mechanisms=linear",
      "--config.forms=chunkwise",
      "--config.lengths=64",
      "--config.passes=forward",
      "--config.dtype=float32",
      "--config.chunk=8,16",
      "--config.replicates=1",
      "--config.point_budget=0.01",
      f"--out={tmp_path}",
  )
  assert done.returncode == 0, done.stderr
  (table,) = tmp_path.glob("*/table.md")
  assert "| linear.chunkwise | float32 | 128 |" in table.read_text()
  assert "C = 8 | C = 16" in table.read_text()


def test_a_chunk_below_one_is_refused(tmp_path):
  done = _run("--config.chunk=0,16", f"--out={tmp_path}")
  assert done.returncode == 2 and "--config.chunk" in done.stderr
