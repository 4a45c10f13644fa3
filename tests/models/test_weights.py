"""Matrices of files in the layouts of several families of models."""

import json
import pickle
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors import numpy as tensors

from lalm.models import weights


def _drawn(*shape):
  return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def _file(tmp_path, arrays, notes=None):
  path = tmp_path / "model.safetensors"
  path.write_bytes(tensors.save(arrays, notes))
  return path


_BERT = {
    "embeddings.word_embeddings.weight": _drawn(9, 4),
    "embeddings.LayerNorm.weight": _drawn(4),
    "encoder.layer.0.attention.self.query.weight": _drawn(4, 4),
    "encoder.layer.0.attention.self.query.bias": _drawn(4),
    "encoder.layer.0.attention.self.key.weight": _drawn(4, 4) + 1,
    "encoder.layer.0.attention.self.value.weight": _drawn(4, 4) + 2,
    "encoder.layer.0.attention.output.dense.weight": _drawn(4, 4) + 3,
    "encoder.layer.0.intermediate.dense.weight": _drawn(8, 4),
    "encoder.layer.0.output.dense.weight": _drawn(4, 8),
    "pooler.dense.weight": _drawn(4, 4),
}


def test_a_bert_is_read(tmp_path):
  (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
  found = weights.read(_file(tmp_path, _BERT))
  roles = [(m.role, m.layer) for m in found.matrices]
  assert roles == [("embedding", None), ("other", None)] + [
      (role, 0) for role in ("q", "k", "v", "o", "mlp_in", "mlp_out")
  ]
  assert found.heads == found.key_heads == 2
  np.testing.assert_array_equal(found.of("o", 0), _drawn(4, 4) + 3)
  assert found.of("mlp_in", 0).shape == (8, 4)


def test_packed_and_turned_matrices_become_out_by_in(tmp_path):
  packed = _drawn(4, 12)
  arrays = {
      "transformer.wte.weight": _drawn(9, 4),
      "transformer.h.3.attn.c_attn.weight": packed,
      "transformer.h.3.attn.c_proj.weight": _drawn(4, 4),
      "transformer.h.3.mlp.c_fc.weight": _drawn(4, 16),
      "transformer.h.3.mlp.c_proj.weight": _drawn(16, 4),
  }
  (tmp_path / "config.json").write_text('{"n_head": 2}')
  found = weights.read(_file(tmp_path, arrays))
  x = _drawn(4)
  for i, role in enumerate("qkv"):
    expected = (x @ packed)[4 * i : 4 * i + 4]
    np.testing.assert_array_equal(found.of(role, 3) @ x, expected)
  assert found.of("mlp_in", 3).shape == (16, 4) and found.heads == 2
  assert found.matrices[1].name == "transformer.h.3.attn.c_attn.weight[q]"


def test_a_llama_has_gates_and_fewer_keys(tmp_path):
  before = "model.layers.12."
  arrays = {
      f"{before}self_attn.{name}_proj.weight": _drawn(rows, 8)
      for name, rows in (("q", 8), ("k", 4), ("v", 4), ("o", 8))
  } | {
      f"{before}mlp.{name}_proj.weight": _drawn(*shape)
      for name, shape in (("gate", (6, 8)), ("up", (6, 8)), ("down", (8, 6)))
  }
  told = {"num_attention_heads": 4, "num_key_value_heads": 2}
  (tmp_path / "config.json").write_text(json.dumps(told))
  found = weights.read(_file(tmp_path, arrays))
  assert [m.role for m in found.matrices] == [
      "q", "k", "v", "o", "mlp_in", "mlp_gate", "mlp_out",
  ]  # fmt: skip
  assert {m.layer for m in found.matrices} == {12}
  assert (found.heads, found.key_heads) == (4, 2)


def test_one_of_ours_tells_its_heads_itself(tmp_path):
  arrays = {
      "tokens.embedding": _drawn(9, 4),
      "mixer_1.qkv.kernel": _drawn(4, 20),  # two keys and values a token
      "mixer_1.out.kernel": _drawn(4, 4),
      "network_1.up.kernel": _drawn(4, 6),
  }
  notes = {"lalm.sizes": json.dumps({"heads": 2})}
  found = weights.read(_file(tmp_path, arrays, notes))
  shapes = {m.role: m.values.shape for m in found.matrices}
  assert shapes == {
      "embedding": (9, 4), "q": (4, 4), "k": (8, 4), "v": (8, 4), "o": (4, 4),
      "mlp_in": (6, 4),
  }  # fmt: skip
  assert found.heads == 2


def test_names_of_no_family_are_kept_as_others(tmp_path):
  arrays = {"a": _drawn(3, 2), "b": _drawn(5), "c": _drawn(2, 2, 2)}
  (only,) = weights.read(_file(tmp_path, arrays)).matrices
  assert only[:3] == ("a", "other", None)


@pytest.mark.parametrize("dtype", (np.float16, ml_dtypes.bfloat16, np.float64))
def test_numbers_of_other_widths_are_widened(tmp_path, dtype):
  values = np.array([[1.5, 2], [3, 4]]).astype(dtype)
  (only,) = weights.read(_file(tmp_path, {"a": values})).matrices
  assert only.values.dtype == (
      np.float64 if dtype == np.float64 else np.float32
  )
  np.testing.assert_array_equal(only.values, [[1.5, 2], [3, 4]])


def _damaged():
  whole = tensors.save({"a": _drawn(3, 2)})
  yield "empty", b""
  yield "short", whole[:20]
  yield "cut", whole[:-4]
  yield "pickle", pickle.dumps({"a": 1})
  yield "huge header", struct.pack("<Q", 2**62) + whole[8:]
  yield "header of 1 GB", struct.pack("<Q", 10**9) + whole[8:]
  yield "no JSON", struct.pack("<Q", 8) + b"not json" + bytes(24)


@pytest.mark.parametrize("name, data", tuple(_damaged()))
def test_what_is_no_whole_file_is_refused_in_a_line(tmp_path, name, data):
  path = tmp_path / "model.safetensors"
  path.write_bytes(data)
  with pytest.raises(ValueError, match="expected a whole safetensors") as error:
    weights.read(path)
  assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_other_bad_files_are_refused(tmp_path):
  with pytest.raises(ValueError, match="expected a whole safetensors file"):
    weights.read(tmp_path / "none")
  with pytest.raises(ValueError, match="expected a whole safetensors file"):
    weights.read(tmp_path)
  with pytest.raises(ValueError, match="expected matrices, got 1 arrays"):
    weights.read(_file(tmp_path, {"a": _drawn(3)}))
  bad = np.array([[1, np.nan], [0, 1]], np.float32)
  with pytest.raises(ValueError, match="finite entries in a"):
    weights.read(_file(tmp_path, {"a": bad}))


@pytest.mark.parametrize("told", ("", "[]", "{", '{"n_head": "x"}'))
def test_a_config_that_tells_nothing_is_none(tmp_path, told):
  (tmp_path / "config.json").write_text(told)
  assert weights.read(_file(tmp_path, _BERT)).heads is None


def test_a_role_is_asked_for_once(tmp_path):
  found = weights.read(_file(tmp_path, _BERT))
  with pytest.raises(ValueError, match="q: expected one in layer 3, got 0"):
    found.of("q", 3)


@pytest.mark.parametrize("kind", ("gpt2", "neo"))
def test_products_are_upright_whichever_way_gpt_lays_them(tmp_path, kind):
  """GPT-Neo has GPT-2's names, and `[out, in]`."""
  shapes = {
      "wte.weight": (50, 16), "h.0.mlp.c_fc.weight": (16, 64),
      "h.0.mlp.c_proj.weight": (64, 16), "h.0.attn.c_attn.weight": (16, 48),
  }  # fmt: skip
  drawn = {
      n: np.random.default_rng(0).normal(size=s) for n, s in shapes.items()
  }
  if kind == "neo":
    drawn = {n: x if "wte" in n else x.T for n, x in drawn.items()}
  path = tmp_path / "model.safetensors"
  path.write_bytes(tensors.save({n: x.copy() for n, x in drawn.items()}))
  found = weights.read(path)
  assert found.of("mlp_in", 0).shape == (64, 16)
  assert found.of("mlp_out", 0).shape == (16, 64)
  assert found.of("q", 0).shape == (16, 16)
  upright = drawn["h.0.attn.c_attn.weight"]
  upright = upright if kind == "neo" else upright.T
  np.testing.assert_array_equal(found.of("v", 0), upright[32:])


@pytest.mark.parametrize("told", ("[" * 200_000, '{"n_head": true}', "[1]"))
def test_what_tells_of_no_heads_tells_none(tmp_path, told):
  path = tmp_path / "model.safetensors"
  path.write_bytes(tensors.save({"wte.weight": np.ones((5, 4))}))
  (tmp_path / "config.json").write_text(told)
  assert weights.read(path).heads is None
