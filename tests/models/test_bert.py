"""An encoder of published weights: against NumPy, and what it refuses."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import numpy as tensors
from scipy import special

from lalm.models import bert
from lalm.models import files
from lalm.models import published
from lalm.models import weights
from tests.golden import sentences as golden

pytestmark = pytest.mark.slow

_D, _H, _F, _L, _V, _P = 8, 2, 12, 3, 20, 16


def _arrays(seed=0):
  draw = np.random.default_rng(seed)
  shapes = {
      "embeddings.word_embeddings.weight": (_V, _D),
      "embeddings.position_embeddings.weight": (_P, _D),
      "embeddings.token_type_embeddings.weight": (2, _D),
      "embeddings.LayerNorm.weight": (_D,),
      "embeddings.LayerNorm.bias": (_D,),
  }
  for i in range(_L):
    for name, rows, columns in (
        ("attention.self.query", _D, _D),
        ("attention.self.key", _D, _D),
        ("attention.self.value", _D, _D),
        ("attention.output.dense", _D, _D),
        ("intermediate.dense", _F, _D),
        ("output.dense", _D, _F),
        ("attention.output.LayerNorm", _D, 0),
        ("output.LayerNorm", _D, 0),
    ):
      shape = (rows, columns) if columns else (rows,)
      shapes[f"encoder.layer.{i}.{name}.weight"] = shape
      shapes[f"encoder.layer.{i}.{name}.bias"] = (rows,)
  return {n: draw.normal(size=s).astype("f4") for n, s in shapes.items()}


def _file(folder, arrays=None, told=None):
  path = folder / "model.safetensors"
  path.write_bytes(tensors.save(_arrays() if arrays is None else arrays))
  told = told or {"num_attention_heads": _H, "layer_norm_eps": 1e-12}
  (folder / "config.json").write_text(json.dumps(told))
  return path


def _norm(x, weight, bias):
  mean = x.mean(-1, keepdims=True)
  return (x - mean) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * weight + bias


def _by_hand(arrays, tokens, mask, skips=1, network=True):
  """One sequence in float64, a loop over heads."""
  a = {name: x.astype(np.float64) for name, x in arrays.items()}
  e = "embeddings."
  x = a[f"{e}word_embeddings.weight"][tokens]
  x = x + a[f"{e}position_embeddings.weight"][: len(tokens)]
  x = x + a[f"{e}token_type_embeddings.weight"][0]
  x = _norm(x, a[f"{e}LayerNorm.weight"], a[f"{e}LayerNorm.bias"])
  hidden, maps = [x], []
  for i in range(_L):
    own = lambda n: (
        a[f"encoder.layer.{i}.{n}.weight"],
        a[f"encoder.layer.{i}.{n}.bias"],
    )
    dense = lambda x, n: x @ own(n)[0].T + own(n)[1]
    q, k, v = (
        dense(x, f"attention.self.{n}") for n in ("query", "key", "value")
    )
    outs = []
    for h in range(_H):
      s = slice(h * _D // _H, (h + 1) * _D // _H)
      scores = q[:, s] @ k[:, s].T / np.sqrt(_D // _H)
      weights = special.softmax(np.where(mask, scores, -np.inf), axis=-1)
      maps.append(weights)
      outs.append(weights @ v[:, s])
    y = dense(np.concatenate(outs, -1), "attention.output.dense")
    x = _norm(skips * x + y, *own("attention.output.LayerNorm"))
    if network:
      y = dense(x, "intermediate.dense")
      y = dense(y * (1 + special.erf(y / np.sqrt(2))) / 2, "output.dense")
      x = _norm(skips * x + y, *own("output.LayerNorm"))
    hidden.append(x)
  return np.array(hidden), np.array(maps).reshape(_L, _H, len(x), len(x))


def test_it_computes_what_numpy_does(tmp_path):
  encoder = bert.load(_file(tmp_path))
  draw = np.random.default_rng(1)
  tokens = draw.integers(_V, size=(2, 7)).astype(np.int32)
  mask = np.arange(7) < np.array([[7], [4]])
  found = bert.capture(encoder, tokens, mask)
  assert found.q.shape == found.k.shape == found.v.shape == (_L, 2, 7, _H, 4)
  for i in range(2):
    hidden, maps = _by_hand(_arrays(), tokens[i], mask[i])
    np.testing.assert_allclose(found.hidden[:, i], hidden, atol=2e-5)
    np.testing.assert_allclose(found.attention[:, i], maps, atol=2e-5)
  np.testing.assert_array_equal(found.attention[:, 1, :, :, 4:], 0)


@pytest.mark.parametrize("skips", (True, False))
@pytest.mark.parametrize("network", (True, False))
def test_parts_can_be_left_out(tmp_path, skips, network):
  encoder = bert.load(_file(tmp_path))
  tokens, parts = np.arange(6, dtype=np.int32), (skips, network)
  found = bert.capture(encoder, tokens[None], skips=skips, network=network)
  hidden, _ = _by_hand(_arrays(), tokens, np.ones(6, bool), *parts)
  np.testing.assert_allclose(found.hidden[:, 0], hidden, atol=5e-5)


def test_padding_changes_nothing_of_a_sentence(tmp_path):
  encoder = bert.load(_file(tmp_path))
  tokens = np.arange(5, dtype=np.int32)[None]
  padded = np.pad(tokens, ((0, 0), (0, 6)))
  one = bert.sentences(encoder, tokens, np.ones((1, 5), bool))
  other = bert.sentences(encoder, padded, np.arange(11)[None] < 5)
  np.testing.assert_allclose(one, other, atol=1e-6)
  np.testing.assert_allclose(jnp.linalg.norm(one, axis=-1), 1, rtol=1e-6)
  wrong = bert.sentences(encoder, padded, np.ones((1, 11), bool))
  assert abs(one - wrong).max() > 1e-3


def test_names_may_begin_with_the_model(tmp_path):
  arrays = {f"bert.{name}": x for name, x in _arrays().items()}
  found = bert.load(_file(tmp_path, arrays))
  np.testing.assert_array_equal(
      found.parameters["layers"]["q.weight"][1],
      _arrays()["encoder.layer.1.attention.self.query.weight"],
  )


def test_it_is_differentiable_by_its_parameters(tmp_path):
  encoder = bert.load(_file(tmp_path))

  def loss(parameters):
    own = encoder._replace(parameters=parameters)
    return bert.capture(own, jnp.arange(4)[None]).hidden[-1].sum()

  found = jax.grad(loss)(encoder.parameters)
  assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(found))


def _with(**own):
  return _arrays() | {n.replace("__", "."): x for n, x in own.items()}


def _without(name):
  return {n: x for n, x in _arrays().items() if n != name}


@pytest.mark.parametrize(
    "arrays, told, words",
    (
        (_without("embeddings.LayerNorm.bias"), None, "LayerNorm.bias"),
        (
            _without("encoder.layer.2.output.dense.bias"),
            None,
            "layer.2.output.dense.bias",
        ),
        ({"a": np.ones((2, 2), "f4")}, None, "encoder.layer.0"),
        (None, {"layer_norm_eps": 1}, "num_attention_heads"),
        (
            None,
            {"num_attention_heads": 3, "layer_norm_eps": 1},
            "expected a divisor of 8",
        ),
        (
            None,
            {"num_attention_heads": [1], "layer_norm_eps": 1},
            "num_attention_heads",
        ),
        (None, {"num_attention_heads": 1e400, "layer_norm_eps": 1}, "Overflow"),
        (
            None,
            {
                "num_attention_heads": 2,
                "layer_norm_eps": 1,
                "hidden_act": "relu",
            },
            "expected hidden_act gelu, got 'relu'",
        ),
        (
            _with(embeddings__word_embeddings__weight=np.ones(8, "f4")),
            None,
            r"expected \[vocabulary, D\] embeddings, got \(8,\)",
        ),
        (
            _with(embeddings__LayerNorm__bias=np.full(8, np.nan, "f4")),
            None,
            "finite numbers in embeddings.LayerNorm.bias",
        ),
        (
            _with(
                encoder__layer__1__output__dense__weight=np.ones((8, 9), "f4")
            ),
            None,
            r"layer.1.output.dense.weight of \(8, 12\), got \(8, 9\)",
        ),
    ),
)
def test_what_is_no_encoder_is_refused(tmp_path, arrays, told, words):
  with pytest.raises(ValueError, match=words) as error:
    bert.load(_file(tmp_path, arrays, told))
  assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "tokens, mask, words",
    (
        (np.zeros((1, 17), int), None, "T from 1 to 16"),
        (np.zeros(3, int), None, r"\[B, T\]"),
        (np.zeros((1, 3)), None, "integer dtype"),
        (np.full((1, 3), 20), None, "expected 0 to 19, got 20"),
        (np.full((1, 3), -1), None, "expected 0 to 19, got -1"),
        (np.zeros((1, 3), int), np.ones((1, 4)), "mask: expected"),
        (np.zeros((1, 3), int), np.zeros((1, 3)), "mask: expected a token"),
    ),
)
def test_tokens_it_cannot_read_are_refused(tmp_path, tokens, mask, words):
  encoder = bert.load(_file(tmp_path))
  with pytest.raises(ValueError, match=words):
    bert.capture(encoder, tokens, mask)


def test_a_text_needs_a_tokenizer(tmp_path):
  with pytest.raises(ValueError, match="expected a tokenizer"):
    bert.read(tmp_path / "none.json", ["a"])
  with pytest.raises(ValueError, match="texts: expected one or more"):
    bert.read(tmp_path / "none.json", [])


def _minilm():
  try:
    return published.find("minilm")
  except ValueError as error:
    pytest.skip(str(error))


def test_sentences_of_minilm_are_those_of_pytorch():
  path = _minilm()
  known = json.loads(golden.PATH.read_text())["embeddings"]
  encoder = bert.load(path)
  read = bert.read(path.parent / "tokenizer.json", golden.TEXTS)
  found = bert.sentences(encoder, *read)
  np.testing.assert_allclose(found, known, atol=1e-5)


def test_minilm_has_six_matrices_a_layer():
  path = _minilm()
  found = weights.read(path)
  inside = [m for m in found.matrices if m.layer is not None]
  assert len(inside) == 36 and found.heads == 12
  assert files.sizes(path) is None  # it is none of ours
  assert found.of("embedding").shape == (30522, 384)
