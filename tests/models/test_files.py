"""Models are read as they were written, or refused."""

import jax
import numpy as np
import pytest

from lalm.models import files
from lalm.models import transformer
from tests.models import conftest as small


def _written(tmp_path, *mixers):
  model = small.sizes(*mixers, convolution=2)
  path = tmp_path / "folder" / "model.safetensors"
  card = {"loss": 1.25, "data": "ab — c"}
  files.save(path, files.Model(small.parameters(model), model, card, "{}"))
  return path, model


def test_a_model_is_read_as_it_was_written(tmp_path, tokens):
  path, model = _written(tmp_path, "linear", "gla")
  found = files.load(path)
  assert found.sizes == model and found.tokenizer == "{}"
  assert found.card == {"loss": 1.25, "data": "ab — c"}
  parameters = small.parameters(model)
  assert jax.tree.structure(found.parameters) == jax.tree.structure(parameters)
  for a, b in zip(
      jax.tree.leaves(found.parameters), jax.tree.leaves(parameters)
  ):
    np.testing.assert_array_equal(a, b)
  out = transformer.forward(found.parameters, found.sizes, tokens).logits
  assert np.isfinite(out).all()
  assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_file_has_no_module_imported_unless_asked(tmp_path):
  path, model = _written(tmp_path, "tests.attention.own_mechanism:AVERAGE")
  with pytest.raises(ValueError, match="expected the library's, got 'tests"):
    files.load(path)
  assert files.load(path, own=True).sizes == model


@pytest.mark.parametrize("kept", (0, 5, 200, -10))
def test_a_file_that_is_not_whole_is_refused(tmp_path, kept):
  path, _ = _written(tmp_path, "linear")
  path.write_bytes(path.read_bytes()[:kept])
  with pytest.raises(ValueError, match="expected a whole safetensors file"):
    files.load(path)


def test_a_missing_file_is_refused(tmp_path):
  with pytest.raises(ValueError, match="none.safetensors: expected a whole"):
    files.load(tmp_path / "none.safetensors")


def test_a_file_of_others_is_refused(tmp_path):
  from safetensors import numpy as tensors

  path = tmp_path / "other.safetensors"
  tensors.save_file({"x": np.zeros(3, np.float32)}, path)
  with pytest.raises(ValueError, match="expected a model's sizes.*got none"):
    files.load(path)


def test_parameters_of_another_shape_are_refused(tmp_path):
  path, model = _written(tmp_path, "linear")
  parameters = small.parameters(model) | {"norm": {"scale": np.ones(3)}}
  files.save(path, files.Model(parameters, model, {}))
  with pytest.raises(
      ValueError, match=r"norm.scale of \(\(16,\), .*got \(\(3,"
  ):
    files.load(path)


def _with_notes(tmp_path, **notes):
  """A whole file whose notes are others."""
  from safetensors import numpy as tensors
  import safetensors

  path, _ = _written(tmp_path, "linear")
  with safetensors.safe_open(path, framework="numpy") as file:
    own = file.metadata() | {f"lalm.{name}": x for name, x in notes.items()}
    arrays = {name: file.get_tensor(name) for name in file.keys()}
  path.write_bytes(tensors.save(arrays, own))
  return path, arrays, own


@pytest.mark.parametrize(
    "notes, words",
    (
        ({"card": "[1]"}, "expected a card of names and values"),
        ({"card": "{"}, "expected a card of names and values"),
        ({"sizes": "[" * 100_000}, "expected sizes that a model has"),
        ({"sizes": '{"causal": "no"}'}, "expected sizes that a model has"),
    ),
)
def test_notes_that_say_nothing_are_refused(tmp_path, notes, words):
  path, *_ = _with_notes(tmp_path, **notes)
  with pytest.raises(ValueError, match=words):
    files.load(path)


def test_parameters_that_are_not_finite_are_refused(tmp_path):
  from safetensors import numpy as tensors

  path, arrays, notes = _with_notes(tmp_path)
  arrays["norm.scale"][0] = np.nan
  path.write_bytes(tensors.save(arrays, notes))
  with pytest.raises(ValueError, match="expected finite numbers in norm.scale"):
    files.load(path)


def test_numbers_of_no_known_kind_are_refused(tmp_path):
  import json
  import struct

  path, *_ = _with_notes(tmp_path)
  header = {"x": {"dtype": "F8_E8M0", "shape": [2], "data_offsets": [0, 2]}}
  text = json.dumps(header).encode()
  path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(2))
  with pytest.raises(ValueError, match="expected"):
    files.load(path)
