"""A small run of `form_error` from its command line to its figure."""

import json
import pathlib
import subprocess
import sys

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_a_small_run_ends_in_a_table_and_a_figure(tmp_path):
  flags = [
      "--config.mechanisms=softmax", "--config.forms=blockwise,step",
      "--config.lengths=8", "--config.width=4", "--config.value_width=4",
      "--config.dtype=bfloat16", f"--out={tmp_path}",
  ]  # fmt: skip
  done = subprocess.run(
      [sys.executable, "-m", "experiments.form_error", *flags],
      cwd=_ROOT,
      capture_output=True,
      text=True,
      check=False,
  )
  assert done.returncode == 0, done.stderr
  (records,) = tmp_path.glob("*/records.jsonl")
  found = [json.loads(line) for line in records.read_text().splitlines()]
  assert [r["status"] for r in found] == ["ok", "ok"]
  assert all(r["distance"]["within"] for r in found)
  (table,) = tmp_path.glob("*/table.md")
  assert "| softmax.step | bfloat16 | 0.00" in table.read_text()
  assert "tolerance" in done.stdout and "figure: " in done.stdout
  figures = {path.suffix for path in tmp_path.glob("*/figures/errors.*")}
  assert figures == {".svg", ".pdf", ".png"}
