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
