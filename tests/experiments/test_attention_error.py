"""A small run of `attention_error` from its command line to its figure."""

import json
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SMALL = [
    "--config.mechanisms=linformer,lsh", "--config.lengths=16",
    "--config.heads=1", "--config.width=4", "--config.value_width=4",
    "--config.replicates=1", "--config.sharpness=0.5",
]  # fmt: skip


def _run(*arguments):
  return subprocess.run(
      [sys.executable, "-m", "experiments.attention_error", *arguments],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
  )


def test_a_small_run_ends_in_a_table_and_a_figure(tmp_path):
  # One budget fits both, one is more than the tokens there are.
  done = _run(*_SMALL, "--config.budgets=4,17", f"--out={tmp_path}")
  assert done.returncode == 1, done.stderr
  words = "refused: ValueError: budget: expected at most 16 projected keys"
  assert words in done.stderr
  (records,) = tmp_path.glob("*/records.jsonl")
  statuses = {
      (r["point"]["mechanism"], r["point"]["budget"]): r["status"]
      for r in map(json.loads, records.read_text().splitlines())
  }
  assert statuses.pop(("linformer", 17)) == "refused"
  assert set(statuses.values()) == {"ok"} and len(statuses) == 3
  (table,) = tmp_path.glob("*/table.md")
  assert "| lsh | distance | 0.5 |" in table.read_text()
  assert "n=16, full" in done.stdout and "figure: " in done.stdout
  figures = {path.suffix for path in tmp_path.glob("*/figures/errors.*")}
  assert figures == {".svg", ".pdf", ".png"}


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--config.budgets=-1", "--config.budgets: expected an integer from 0"),
        ("--config.sharpness=0", "a number greater than 0"),
        ("--config.causal=True", "can be causal"),
        ("--config.mechanisms=softmax", "expected one of performer"),
        ("--config.passes=forward_backward", "passes: expected 'forward'; got"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(tmp_path, flag, words):
  done = _run(*_SMALL, flag, f"--out={tmp_path}")
  assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
  assert words in done.stderr
  assert not list(tmp_path.iterdir())
