"""A small run of `decode_latency` from its command line to its figure."""

import json
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SMALL = [
    "--config.mechanisms=softmax,linear", "--config.lengths=16,32",
    "--config.batch=1,2", "--config.heads=1", "--config.width=8",
    "--config.value_width=8", "--config.tokens=2", "--config.replicates=1",
    "--config.point_budget=0.01",
]  # fmt: skip


def _run(*arguments):
  return subprocess.run(
      [sys.executable, "-m", "experiments.decode_latency", *arguments],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
  )


def test_a_small_run_ends_in_laws_throughput_and_figures(tmp_path):
  done = _run(*_SMALL, "--config.passes=step", f"--out={tmp_path}")
  assert done.returncode == 0, done.stderr
  (folder,) = tmp_path.iterdir()
  lines = (folder / "records.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert [r["status"] for r in records] == ["ok"] * 8
  assert {r["point"]["tokens"] for r in records} == {2}
  table = (folder / "table.md").read_text()
  assert "| softmax.decode | step |" in table
  throughput = (folder / "throughput.md").read_text()
  assert "| mechanism | B=1 | B=2 |" in throughput
  assert "| linear |" in throughput and "tokens a second" in done.stdout
  for name in ("scaling", "scaling_2", "throughput"):
    assert (folder / "figures" / f"{name}.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--config.causal=False", "--config.causal: expected True; got False"),
        ("--config.passes=forward", "passes: expected one of step, prefill"),
        ("--config.tokens=0", "tokens: expected an integer from 1 up"),
        ("--config.mechanisms=lsh", "a state and a step, got 'lsh'"),
    ],
)
def test_what_cannot_be_decoded_is_refused_in_a_line(tmp_path, flag, words):
  done = _run(*_SMALL, flag, f"--out={tmp_path}")
  assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
  assert words in done.stderr
  assert not list(tmp_path.iterdir())
