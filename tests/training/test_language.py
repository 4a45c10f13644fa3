"""What a language model learns from and is judged by, counted anew by hand."""

import math

import jax
import numpy as np
import pytest

from lalm.data import batches
from lalm.data import tokens
from lalm.models import files
from lalm.models import transformer
from lalm.training import language
from lalm.training import runs

_TASK = language.Task()


@pytest.fixture(scope="module", name="point")
def _point(tmp_path_factory):
  """Of a text no stretch of which is there twice."""
  folder = tmp_path_factory.mktemp("corpus")
  for file in range(60):
    lines = (f"value_{100 * file + i} = {7919 * file + i}\n" for i in range(80))
    (folder / f"{file:02}.py").write_text("".join(lines))
  return {
      "mechanism": "linear", "layers": 1, "heads": 2, "width": 8,
      "value_width": 8, "length": 12, "batch": 8, "dtype": "float32",
      "vocabulary": 270, "steps": 10, "rate": 1e-3, "corpus": str(folder),
  }  # fmt: skip


def _parameters(point):
  return transformer.init(jax.random.key(0), _TASK.sizes(point))


def _nats(point, stream, count):
  """Of each token of stretches of a text, and the tokens."""
  whole = batches.consecutive(stream, count, point["length"])
  logits = transformer.forward(
      _parameters(point), _TASK.sizes(point), whole.tokens
  ).logits
  logs = np.asarray(jax.nn.log_softmax(logits), np.float64)
  picked = np.take_along_axis(logs, whole.targets[..., None], axis=-1)
  return -picked[..., 0], whole.targets


def _stream(name, folder):
  (path,) = (folder / "text").glob(f"*/{name}.npy")
  return np.load(path)


def test_bits_a_byte_are_bits_over_bytes(point, tmp_path):
  data = _TASK.data(point, 0, tmp_path)
  found = data.judge(_parameters(point))
  nats, targets = _nats(point, _stream("held_out", tmp_path), 64)
  (merges,) = (tmp_path / "text").glob("*/tokenizer.json")
  tokenizer = tokens.loads(merges.read_text())
  size = sum(len(tokenizer.decode([int(t)])) for t in targets.ravel())
  assert size > 1.3 * targets.size  # or bytes a token would show nothing
  assert found["loss"] == pytest.approx(nats.mean(), rel=1e-5)
  bits = nats.sum() / math.log(2) / size
  assert found["bits_per_byte"] == pytest.approx(bits, rel=1e-5)


def test_what_is_held_out_is_not_trained_on(point, tmp_path):
  data = _TASK.data(point, 0, tmp_path)
  (merges,) = (tmp_path / "text").glob("*/tokenizer.json")
  read = tokens.loads(merges.read_text()).decode
  texts = {
      name: read(_stream(name, tmp_path).tolist())
      for name in ("train", "held_out")
  }
  trained = [
      read(row.tolist())
      for step in range(20)
      for row in data.batch(step).tokens
  ]
  assert len(trained) == 160 and all(x in texts["train"] for x in trained)
  # Of some stretches too little is their own: "value_1", say.
  assert sum(x in texts["held_out"] for x in trained) < 16


@pytest.mark.parametrize(
    "batch", (5, *(pytest.param(n, marks=pytest.mark.slow) for n in (48, 1000)))
)
def test_the_judgement_does_not_depend_on_the_batch(point, tmp_path, batch):
  parameters = _parameters(point)
  one = _TASK.data(point, 0, tmp_path).judge(parameters)
  other = _TASK.data({**point, "batch": batch}, 0, tmp_path).judge(parameters)
  assert other == pytest.approx(one, rel=1e-5)


def test_positions_are_in_their_order_and_the_model_is_kept(point, tmp_path):
  kept = tmp_path / "cache"
  point = {**point, "length": 20}
  _TASK.data(point, 3, kept)
  run = runs.Run(point, 3, "name")
  found = _TASK.ended(run, _parameters(point), kept)
  nats, _ = _nats(point, _stream("held_out", kept), 64)
  places = np.array_split(nats.mean(0), 16)
  ratio = np.array(found["by_position"]) / [x.mean() for x in places]
  np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
  assert np.ptp([x.mean() for x in places]) > 1e-3
  model = files.load(tmp_path / found["model"])
  assert model.card["seed"] == 3
  assert model.card["loss"] == pytest.approx(nats.mean(), rel=1e-5)


def test_a_card_names_its_corpus(point, tmp_path, monkeypatch):
  assert language._title("") == "standard library"
  assert language._title("/a/b/text.py") == "text.py"
  monkeypatch.chdir(tmp_path)
  assert language._title(".") == tmp_path.name


def test_heads_of_an_odd_width_are_refused(point):
  with pytest.raises(ValueError, match="width: expected an even number"):
    _TASK.sizes({**point, "width": 7})
