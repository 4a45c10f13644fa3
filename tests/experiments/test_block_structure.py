"""A small run of `block_structure` from its command line to its figure."""

import json
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SMALL = [
    "--config.mechanisms=softmax,linear", "--config.lengths=8,16,32",
    "--config.heads=1", "--config.width=4", "--config.value_width=2",
    "--config.replicates=1",
]  # fmt: skip


def _run(*arguments):
  return subprocess.run(
      [sys.executable, "-m", "experiments.block_structure", *arguments],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
  )


def test_a_small_run_ends_in_a_table_and_a_figure(tmp_path):
  done = _run(*_SMALL, f"--out={tmp_path}")
  assert done.returncode == 0, done.stderr
  (table,) = tmp_path.glob("*/table.md")
  text = table.read_text()
  assert "| linear | F = 4 | 4 | 4 |" in text and "| at most 4 |" in text
  assert "| softmax | none | 16 | 16 |" in text and "| grows like n^" in text
  assert text in done.stdout and "figure: " in done.stdout
  assert len(list(tmp_path.glob("*/figures/blocks.*"))) == 3
  (records,) = tmp_path.glob("*/records.jsonl")
  found = [*map(json.loads, records.read_text().splitlines())]
  assert len(found) == 6 and {r["status"] for r in found} == {"ok"}


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        (
            "--config.lengths=1,8",
            "--config.lengths: expected an integer from 2",
        ),
        ("--config.window=0", "--config.window: expected an integer from 1"),
        ("--config.dtype=float32", "dtype: expected 'float64'; got"),
        ("--config.mechanisms=linformer", "those that can be causal"),
    ],
)
def test_what_it_cannot_look_at_is_refused_in_a_line(tmp_path, flag, words):
  done = _run(*_SMALL, flag, f"--out={tmp_path}")
  assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
  assert words in done.stderr
  assert not list(tmp_path.iterdir())
