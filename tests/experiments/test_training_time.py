"""A small run of `training_time` from its command line to its tables."""

import json

from experiments import training_time
from lalm.launch import command

_SMALL = (
    "--config.mechanisms=linear", "--config.lengths=16,32",
    "--config.forms=lalm,plain", "--config.heads=2", "--config.width=8",
    "--config.value_width=8", "--config.layers=1", "--config.vocabulary=32",
    "--config.replicates=1", "--config.point_budget=0.05",
)  # fmt: skip


def test_a_small_run_ends_in_laws_and_ratios(tmp_path):
  arguments = ["prog", f"--out={tmp_path}", *_SMALL]
  assert command.run(arguments, training_time.EXPERIMENT) == 0
  (folder,) = tmp_path.iterdir()
  records = list(map(json.loads, (folder / "records.jsonl").open()))
  assert [r["status"] for r in records] == ["ok"] * 4
  assert all(r["error"]["kind"] == "gradients" for r in records)
  assert "linear.lalm" in (folder / "table.md").read_text()
  assert "random tokens of 32" in (folder / "table.md").read_text()
  ratios = (folder / "ratios.md").read_text()
  assert "| linear, causal | plain |" in ratios
  assert "| linear | lalm |" in ratios and "1 layers" not in ratios
  assert (folder / "figures" / "scaling.svg").stat().st_size > 1000


def test_a_way_to_write_it_that_is_not_there_is_refused(tmp_path, capsys):
  arguments = ["prog", f"--out={tmp_path}", *_SMALL, "--config.forms=torch"]
  assert command.run(arguments, training_time.EXPERIMENT) == 2
  assert "torch" in capsys.readouterr().err
