"""A small run of `copy_task` from its command line to its figure."""

import json
import pathlib
import re
import runpy

import pytest

from experiments import copy_task
from lalm.launch import command
from lalm.launch import peaks
from lalm.measure import kernel
from lalm.training import copying

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_SMALL = (
    "--config.mechanisms=linear", "--config.lengths=16", "--config.batch=8",
    "--config.heads=2", "--config.width=8", "--config.value_width=8",
    "--config.layers=1", "--config.steps=20", "--config.rounds=2",
    "--config.drop=10", "--config.rate=0.01", "--config.replicates=1",
)  # fmt: skip


def _run(tmp_path, *flags, experiment=copy_task.EXPERIMENT):
  arguments = ["prog", f"--out={tmp_path}", *_SMALL, *flags]
  return command.run(arguments, experiment)


def test_a_small_run_ends_in_a_figure_and_is_not_run_again(tmp_path, capsys):
  told = []
  watched = copy_task.EXPERIMENT._replace(progress=told.append)
  assert _run(tmp_path, experiment=watched) == 0
  words = r"1/20, [\d.]+ nats, [\d,]+/s, [\d.]+ % of products, 0:\d\d left"
  assert re.fullmatch(words, told[0].point), told[0]
  assert told[0][:2] == (0, 1) and told[-1][:2] == (1, 1)
  (folder,) = tmp_path.iterdir()
  (record,) = map(json.loads, (folder / "records.jsonl").open())
  assert record["status"] == "ok" and record["calls"] == 20
  assert [x[0] for x in record["curve"]] == list(range(1, 21))
  assert [x["step"] for x in record["judged"]] == [0, 10, 20]
  assert record["judged"][-1]["loss"] < record["judged"][0]["loss"]
  assert 0 < record["utilisation"] < 1
  assert "| linear | 0.01 |" in (folder / "table.md").read_text()
  assert (folder / "figures" / "learning.svg").stat().st_size > 1000
  assert (folder / ".cache" / ".gitignore").read_text() == "*\n"
  assert _run(tmp_path) == 0
  assert len((folder / "records.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "flag, words",
    (
        ("--config.lengths=3", "expected 4 or more for 0 w 0 w"),
        ("--config.dtype=float64", "expected one of float32, bfloat16"),
        pytest.param(
            *("--config.value_width=4", "expected the width, 8, got 4"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("--config.mechanisms=hybrid", "4 or more of a hybrid"),
            marks=pytest.mark.slow,
        ),
    ),
)
def test_what_no_model_is_made_of_is_refused_before_it_is_trained(
    tmp_path, capsys, flag, words
):
  assert _run(tmp_path, flag) == 1
  errors = capsys.readouterr().err
  assert "refused" in errors and words in errors, errors


def test_on_an_accelerator_no_peaks_are_read(monkeypatch):
  told = {"memory_method": "peak_bytes_in_use", "slug": "gpu"}
  monkeypatch.setattr(kernel.TARGET, "surroundings", lambda: told)
  assert not peaks.needed(copying.TARGET.surroundings())
  assert copying.TARGET.surroundings()["slug"] == "gpu"


@pytest.mark.parametrize(
    "flag, words",
    (
        ("--config.mechanisms=linformer", "can be causal"),
        ("--config.rate=0", "expected a number greater than 0"),
        ("--config.causal=False", "expected True; got False"),
        ("--config.chunk=64", "--config.chunk: expected None; got 64"),
        (
            "--config.corpus=normal",
            "--config.corpus: expected ''; got 'normal'",
        ),
    ),
)
def test_what_cannot_be_trained_is_refused_in_a_line(
    tmp_path, capsys, flag, words
):
  assert _run(tmp_path, flag) == 2
  errors = capsys.readouterr().err
  assert errors.count("\n") == 1 and words in errors
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_papers_setting_runs_and_tells_how_long_it_would_take(
    tmp_path, capsys
):
  config = _ROOT / "configs" / "copy_task_paper.py"
  wanted = runpy.run_path(str(config))["get_config"]()
  flags = (
      f"--config={config}", f"--out={tmp_path}", "--config.mechanisms=linear",
      "--config.steps=20", "--config.rounds=1", "--config.drop=10",
      "--config.replicates=1",
  )  # fmt: skip
  assert command.run(["prog", *flags], copy_task.EXPERIMENT) == 0
  (folder,) = tmp_path.iterdir()
  (record,) = map(json.loads, (folder / "records.jsonl").open())
  assert record["status"] == "ok" and record["parameters"] > 3e6
  step = record["seconds"][0] / 20
  hours, steps = step * wanted.steps / 3600, f"{wanted.steps:,} steps"
  with capsys.disabled():
    print(f"\nthe paper's setting: {step:.2f} s a step, {hours:.1f} h {steps}")
