"""The experiment of correctness, run small and refused."""

import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(*arguments):
  return subprocess.run(
      [sys.executable, "-m", "experiments.correctness", *arguments],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
  )


def test_a_small_run_ends_in_a_table(tmp_path):
  done = _run(
      "--config.mechanisms=linear",
      "--config.forms=recurrent,step",
      "--config.lengths=17",
      "--config.dtype=float32",
      "--config.heads=1",
      f"--out={tmp_path}",
  )
  assert done.returncode == 0, done.stderr
  assert "4 of 4 are within their tolerance" in done.stdout
  (table,) = tmp_path.glob("*/table.md")
  assert "| linear.step |" in table.read_text()


def test_what_there_is_no_form_of_is_named(tmp_path):
  done = _run("--config.forms=fast", f"--out={tmp_path}")
  assert done.returncode == 2 and "Traceback" not in done.stderr
  assert "--config.forms" in done.stderr
