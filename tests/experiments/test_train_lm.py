"""A small run of `train_lm` from its command line to its figure."""

import json
import math

import pytest

from experiments import train_lm
from lalm.data import tokens
from lalm.launch import command
from lalm.models import files
from lalm.models import transformer
from lalm.training import language
from lalm.training import mixers

_SMALL = (
    "--config.mechanisms=hybrid", "--config.lengths=24", "--config.batch=4",
    "--config.heads=2", "--config.width=8", "--config.value_width=8",
    "--config.layers=4", "--config.steps=20", "--config.rounds=2",
    "--config.rate=0.01", "--config.replicates=1", "--config.vocabulary=270",
)  # fmt: skip
_POINT = dict(
    length=24, batch=4, heads=2, width=32, layers=2, dtype="float32",
    vocabulary=256,
)  # fmt: skip


def _run(tmp_path, *flags):
  arguments = ["prog", f"--out={tmp_path / 'out'}", *_SMALL, *flags]
  return command.run(arguments, train_lm.EXPERIMENT)


@pytest.fixture
def corpus(tmp_path):
  path = tmp_path / "text.txt"
  path.write_text("".join(f"line {i} says {i * i}\n" for i in range(400)))
  return str(path)


def test_a_small_run_ends_in_bits_a_byte_and_a_text(tmp_path, corpus):
  assert _run(tmp_path, f"--config.corpus={corpus}") == 0
  (folder,) = (tmp_path / "out").iterdir()
  (record,) = map(json.loads, (folder / "records.jsonl").open())
  assert record["status"] == "ok"
  first, last = record["judged"][0], record["judged"][-1]
  assert first["loss"] == pytest.approx(math.log(270), rel=0.02)
  assert last["loss"] < first["loss"] - 0.5
  assert 0.2 < last["bits_per_byte"] / last["loss"] < 1 / math.log(2)
  assert len(record["by_position"]) == 16
  assert record["by_position"][0] > 0 and len(record["sample"]) > 10
  assert "| hybrid | 0.01 |" in (folder / "table.md").read_text()
  assert (folder / "figures" / "learning.svg").stat().st_size > 1000
  model = files.load(folder / record["model"])
  assert model.card["loss"] == pytest.approx(last["loss"], rel=1e-5)
  assert model.card["bits_per_byte"] == pytest.approx(last["bits_per_byte"])
  assert model.card["corpus"] == "text.txt" and model.card["steps"] == 20
  prompt = tokens.loads(model.tokenizer).encode("line 7 says ")
  out = transformer.forward(model.parameters, model.sizes, prompt[None])
  assert out.logits.shape == (1, len(prompt), 270)


@pytest.mark.parametrize("name, status", (("wordnet", 0), ("normal", 2)))
def test_wordnet_is_a_corpus_and_noise_is_not(tmp_path, capsys, name, status):
  """Without its package a plan of it is refused, and the command goes on."""
  flags = ("--dry_run", f"--config.corpus={name}")
  assert _run(tmp_path, *flags) == status
  said = capsys.readouterr()
  if status:
    assert "--config.corpus: expected news, wordnet, or a path" in said.err
  else:
    assert "1 points" in said.out


@pytest.mark.parametrize("size", (0, pytest.param(30, marks=pytest.mark.slow)))
def test_a_text_that_is_too_short_is_refused(tmp_path, capsys, size):
  path = tmp_path / "short.txt"
  path.write_text("ab\n" * size)
  assert _run(tmp_path, f"--config.corpus={path}") in (1, 2)
  errors = capsys.readouterr().err
  assert "expected" in errors and "Traceback" not in errors


def test_a_hybrid_has_a_layer_of_softmax_after_three():
  assert mixers.layers("hybrid", 5) == (
      *("linear", "linear", "linear", "softmax", "linear"),
  )
  assert mixers.layers("gla", 2) == ("gla", "gla")
  with pytest.raises(ValueError, match="4 or more of a hybrid, got 3"):
    mixers.layers("hybrid", 3)
  assert mixers.get("hybrid").name == "hybrid"
  assert "linformer" not in mixers.names() and "hybrid" in mixers.names()


@pytest.mark.parametrize("name", ("linear", "gla", "gated_deltanet", "rwkv7"))
def test_models_have_as_many_parameters_as_that_of_softmax(name):
  task = language.Task()
  base, other = (
      language._count(task.sizes({**_POINT, "mechanism": each}))
      for each in ("softmax", name)
  )
  # To half a column of the three products of each of two networks.
  assert abs(base - other) <= 3 * 64 * 2 / 2


def test_bits_a_byte_are_of_the_text_not_of_its_tokens():
  assert language.bits(math.log(2), 1.0) == pytest.approx(1.0)
  assert language.bits(8 * math.log(2), 4.0) == pytest.approx(2.0)
