"""Small runs of the experiments that open a model, from command to figure."""

import importlib
import json

import pytest

from lalm.launch import command

_SMALL = {
    "weight_spectrum": ("--config.mechanisms=q,mlp_out",),
    "linear_algebra": (
        "--config.mechanisms=power_laws,report",
        "--config.point_budget=0.01",
    ),
    "attention_spectrum": (
        "--config.mechanisms=maps,performer", "--config.lengths=32",
        "--config.batch=2",
    ),
    "conditioning": (
        "--config.mechanisms=q,o", "--config.lengths=32", "--config.batch=2",
    ),
    "circuits": (),
}  # fmt: skip
_WORDS = {
    "weight_spectrum": ("| q | 4 |", "| mlp_out | 4 |", "8 matrices"),
    "linear_algebra": ("| power_laws | lalm |", "| report | lalm |"),
    "attention_spectrum": ("captured", "| performer |"),
    "conditioning": ("| q |", "| o |"),
    "circuits": ("| 3.3 |", "compose most (unrelated: 0.0884)"),
}


def _run(name, tmp_path, *flags):
  experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
  own = (f"--out={tmp_path}", "--config.replicates=1", *_SMALL[name], *flags)
  return command.run(["prog", *own], experiment)


@pytest.mark.parametrize("name", _SMALL)
def test_our_own_model_is_opened(tmp_path, name):
  assert _run(name, tmp_path, "--config.weights=own") == 0
  (folder,) = tmp_path.iterdir()
  records = [json.loads(x) for x in (folder / "records.jsonl").open()]
  assert records and all(r["status"] == "ok" for r in records)
  table = (folder / "table.md").read_text()
  assert "softmax-" in table
  # What each part was asked is in the table of all.
  assert all(word in table for word in _WORDS[name])
  figures = folder / "figures"
  assert len(list(figures.glob("*"))) == (0 if name == "linear_algebra" else 3)


@pytest.mark.parametrize("name", _SMALL)
def test_a_file_that_is_not_there_is_refused(tmp_path, capsys, name):
  assert _run(name, tmp_path, "--config.weights=none.safetensors") == 1
  errors = capsys.readouterr().err
  assert "expected one of own, minilm or a file" in errors
  assert "Traceback" not in errors
