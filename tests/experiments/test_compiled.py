"""A sweep for a machine that is not here, from the command line."""

import importlib.util
import json
import pathlib

import pytest

from experiments import attention_scaling
from experiments import form_error
from experiments import longest_context
from lalm.launch import command

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SMALL = (
    "--config.mechanisms=linear", "--config.lengths=256,512,1024",
    "--config.passes=forward", "--config.heads=2", "--config.width=16",
    "--config.value_width=16",
)  # fmt: skip
_COMPILER = importlib.util.find_spec("libtpu") is not None


def _run(tmp_path, *flags, experiment=attention_scaling.EXPERIMENT):
  return command.run(["prog", f"--out={tmp_path}", *_SMALL, *flags], experiment)


def test_an_unknown_target_is_refused_with_those_there_are(tmp_path, capsys):
  assert _run(tmp_path, "--config.target=local,h300") == 2
  errors = capsys.readouterr().err
  assert errors.count("\n") == 1 and "--config.target: expected" in errors
  assert "local, h100, h100x2, h100x4, h100x8" in errors and "h300" in errors
  assert not list(tmp_path.iterdir())


def test_what_does_not_sweep_kernels_has_no_target(tmp_path, capsys):
  one = form_error.EXPERIMENT
  assert _run(tmp_path, "--config.target=h100", experiment=one) == 2
  assert "target" in capsys.readouterr().err


def test_a_search_that_begins_beyond_positions_is_refused(tmp_path, capsys):
  longest = longest_context.EXPERIMENT
  flag = f"--config.lengths={2**30 + 1}"
  assert _run(tmp_path, flag, experiment=longest) == 2
  errors = capsys.readouterr().err
  assert "--config.lengths: expected an integer from 1 to 1073741824" in errors


@pytest.mark.skipif(_COMPILER, reason="the TPU compiler is installed")
def test_a_missing_compiler_is_named_with_its_extra(tmp_path, capsys):
  assert _run(tmp_path, "--config.target=tpu-v5e-2x2") == 1
  errors = capsys.readouterr().err
  assert errors.count("\n") == 1 and '"lalm[tpu]"' in errors


@pytest.mark.tpu_compiler
@pytest.mark.skipif(not _COMPILER, reason="the TPU compiler is not installed")
def test_a_compiled_sweep_says_so_everywhere(tmp_path, capsys):
  assert _run(tmp_path, "--config.target=tpu-v5e-2x2") == 0
  folder = tmp_path / "tpu-v5e-2x2"
  assert [path.name for path in tmp_path.iterdir()] == [folder.name]
  lines = (folder / "records.jsonl").read_text().splitlines()
  records = [json.loads(line) for line in lines]
  assert len(records) == 3
  assert {r["provenance"] for r in records} == {"compiled"}
  assert {r["machine"] for r in records} == {"tpu-v5e-2x2"}
  assert not any("seconds" in record for record in records)
  table = (folder / "table.md").read_text()
  assert "compiled, not run" in table and "roofline n^" in table
  assert "| passed states |" in table and "time n^" not in table
  assert "Compiled, not run" in (folder / "figures/scaling.svg").read_text()
  capsys.readouterr()
  assert _run(tmp_path, "--config.target=tpu-v5e-2x2") == 0
  assert (folder / "records.jsonl").read_text().splitlines() == lines
