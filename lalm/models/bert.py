"""The encoder of BERT (Devlin et al. 2018, arXiv 1810.04805) from its file.

    x <- norm(x + attend(x W_q, x W_k, x W_v) W_o),
    x <- norm(x + gelu(x W_in) W_out)                                       (1)

for each layer, with biases and norms after, as published checkpoints such as
MiniLM (Wang et al. 2020, arXiv 2002.10957) have them.
"""

from collections.abc import Mapping, Sequence
import functools
import json
import os
import pathlib
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm import shapes
from lalm.attention import contract
from lalm.models import captured
from lalm.models import weights

# What is told of an encoder beside, if it is, has no other value here.
_OWN = {"hidden_act": "gelu", "position_embedding_type": "absolute"}
_HEADS, _EPSILON = "num_attention_heads", "layer_norm_eps"
_PLACES = (
    ("attention.self.query", "q"),
    ("attention.self.key", "k"),
    ("attention.self.value", "v"),
    ("attention.output.dense", "o"),
    ("attention.output.LayerNorm", "attention_norm"),
    ("intermediate.dense", "mlp_in"),
    ("output.dense", "mlp_out"),
    ("output.LayerNorm", "mlp_norm"),
)


class Encoder(NamedTuple):
  """An encoder.

  Attributes:
    parameters: arrays by name; a layer's, stacked, have L as the first axis.
    heads: H.
    epsilon: of its norms.
  """

  parameters: dict[str, Any]
  heads: int
  epsilon: float = 1e-12


def load(path: str | os.PathLike[str]) -> Encoder:
  """Returns the encoder of a safetensors file, with `config.json` beside it.

  Args:
    path: of the file.

  Raises:
    ValueError: a file is missing, damaged, or not of such an encoder.
  """
  file = pathlib.Path(path)
  arrays = {
      name.removeprefix("bert."): x for name, x in weights.tensors(file).items()
  }
  beside = file.parent / "config.json"
  try:
    told = json.loads(beside.read_text("utf-8"))
    heads, epsilon = int(told[_HEADS]), float(told[_EPSILON])
  except (
      OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError
  ) as error:  # fmt: skip
    raise ValueError(
        f"{beside}: expected {_HEADS} and {_EPSILON}, got"
        f" {type(error).__name__}: {error}"
    ) from error
  for name, own in _OWN.items():
    if told.get(name, own) != own:
      raise ValueError(f"{beside}: expected {name} {own}, got {told[name]!r}")
  try:
    parameters = _parameters(arrays)
  except (KeyError, IndexError) as error:
    raise ValueError(
        f"{file}: expected the encoder of BERT, got none of its {error}"
    ) from error
  except ValueError as error:
    raise ValueError(f"{file}: {error}") from error
  width = parameters["tokens"].shape[1]
  if heads < 1 or width % heads:
    raise ValueError(
        f"{beside}: expected a divisor of {width} as {_HEADS}, got {heads}"
    )
  return Encoder(parameters, heads, epsilon)


def _parameters(arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Parameters by our names.

  Raises:
    KeyError: one is missing.
    ValueError: one is of another shape, or not finite.
  """
  first = "embeddings."
  layers = len({n.split(".")[2] for n in arrays if n.startswith("encoder.la")})
  if not layers:
    raise KeyError("encoder.layer.0")
  _check(arrays)
  stacked = {}
  for theirs, ours in _PLACES:
    for kind in ("weight", "bias"):
      every = [
          arrays[f"encoder.layer.{i}.{theirs}.{kind}"] for i in range(layers)
      ]
      stacked[f"{ours}.{kind}"] = jnp.asarray(np.stack(every))
  return {
      "tokens": jnp.asarray(arrays[f"{first}word_embeddings.weight"]),
      "places": jnp.asarray(arrays[f"{first}position_embeddings.weight"]),
      "type": jnp.asarray(arrays[f"{first}token_type_embeddings.weight"][0]),
      "norm.weight": jnp.asarray(arrays[f"{first}LayerNorm.weight"]),
      "norm.bias": jnp.asarray(arrays[f"{first}LayerNorm.bias"]),
      "layers": stacked,
  }


def _check(arrays: Mapping[str, np.ndarray]) -> None:
  """Raises ValueError unless arrays have the shapes of one another."""
  table = arrays["embeddings.word_embeddings.weight"]
  if table.ndim != 2:
    raise ValueError(f"expected [vocabulary, D] embeddings, got {table.shape}")
  width = table.shape[1]
  wide = len(arrays["encoder.layer.0.intermediate.dense.bias"])
  for name, x in arrays.items():
    first, _, kind = name.rpartition(".")
    if not first.startswith(("embeddings.", "encoder.layer.")):
      continue
    if not np.isfinite(x).all():
      raise ValueError(
          f"expected finite numbers in {name}, got some that are not"
      )
    out = wide if first.endswith("intermediate.dense") else width
    taken = wide if re.search(r"\d\.output\.dense$", first) else width
    if first.endswith("_embeddings"):
      expected: tuple[int, ...] = (len(x), width)
    elif kind == "bias" or first.endswith("LayerNorm"):
      expected = (out,)
    else:
      expected = (out, taken)
    if x.shape != expected:
      raise ValueError(f"expected {name} of {expected}, got {x.shape}")


def capture(
    encoder: Encoder,
    tokens: jax.Array,
    mask: jax.Array | None = None,
    *,
    skips: bool = True,
    network: bool = True,
) -> captured.Captured:
  """Returns what the encoder computes of sequences.

  Without skips or networks it is the same weights that compute, as where they
  are asked how tokens become equal (Dong et al. 2021, arXiv 2103.03404).

  Args:
    encoder: as `load` returns it.
    tokens: integers `[B, T]`, each below the vocabulary.
    mask: `[B, T]`, True where there is a token; each sequence has one at least.
    skips: whether x is added to what a part makes of it.
    network: whether there are networks, and the norms after them.

  Raises:
    ValueError: tokens or mask of another shape or dtype, more tokens than it
      has places, or one that is not in the vocabulary.
  """
  vocabulary, places = (
      encoder.parameters[name].shape[0] for name in ("tokens", "places")
  )
  shapes.check_integers("tokens", tokens, tuple(np.shape(tokens)))
  if np.ndim(tokens) != 2 or not 1 <= np.shape(tokens)[1] <= places:
    raise ValueError(
        f"tokens: expected [B, T] with T from 1 to {places}, got"
        f" {np.shape(tokens)}"
    )
  if not isinstance(tokens, jax.core.Tracer):
    low, high = int(np.min(tokens)), int(np.max(tokens))
    if low < 0 or high >= vocabulary:
      raise ValueError(
          f"tokens: expected 0 to {vocabulary - 1}, got {low} to {high}"
      )
  if mask is None:
    mask = jnp.ones(np.shape(tokens), bool)
  elif np.shape(mask) != np.shape(tokens):
    raise ValueError(f"mask: expected {np.shape(tokens)}, got {np.shape(mask)}")
  elif not isinstance(mask, jax.core.Tracer) and not np.any(mask, 1).all():
    raise ValueError("mask: expected a token in each sequence, got none in one")
  kind = (encoder.heads, encoder.epsilon, bool(skips), bool(network))
  return _capture(encoder.parameters, kind, tokens, mask != 0)


@functools.partial(jax.jit, static_argnums=1)
def _capture(
    parameters: Any,
    kind: tuple[int, float, bool, bool],
    tokens: jax.Array,
    mask: jax.Array,
) -> captured.Captured:
  heads, epsilon, skips, network = kind
  norm = functools.partial(_norm, epsilon=epsilon)
  x = parameters["tokens"][tokens] + parameters["places"][: tokens.shape[1]]
  x = norm(x + parameters["type"], parameters, "norm")

  def layer(x: jax.Array, own: Any) -> tuple[jax.Array, Any]:
    split = (*x.shape[:2], heads, x.shape[2] // heads)
    q, k, v = (_dense(x, own, name).reshape(split) for name in "qkv")
    attention = captured.weights(q, k, mask[:, None, None, :])
    out = jnp.einsum(
        "bhts,bshk->bthk",
        attention,
        v,
        precision=contract.precision(x.dtype),
    )
    out = out.reshape(x.shape)
    inputs = {"q": x, "o": out}
    y = _dense(out, own, "o")
    y = norm(x + y if skips else y, own, "attention_norm")
    if network:
      z = jax.nn.gelu(_dense(y, own, "mlp_in"), approximate=False)
      inputs |= {"mlp_in": y, "mlp_out": z}
      z = _dense(z, own, "mlp_out")
      y = norm(y + z if skips else z, own, "mlp_norm")
    return y, (x, q, k, v, attention, inputs)

  last, (hidden, *rest) = jax.lax.scan(layer, x, parameters["layers"])
  return captured.Captured(jnp.concatenate([hidden, last[None]]), *rest)


def _dense(x: jax.Array, own: Mapping[str, jax.Array], name: str) -> jax.Array:
  y = jnp.einsum(
      "btd,ed->bte",
      x,
      own[f"{name}.weight"],
      precision=contract.precision(x.dtype),
  )
  return y + own[f"{name}.bias"]


def _norm(
    x: jax.Array, own: Mapping[str, jax.Array], name: str, epsilon: float
) -> jax.Array:
  x = x - x.mean(axis=-1, keepdims=True)
  x = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + epsilon)
  return x * own[f"{name}.weight"] + own[f"{name}.bias"]


def sentences(
    encoder: Encoder, tokens: jax.Array, mask: jax.Array
) -> jax.Array:
  """Returns a unit vector a sequence, the mean over its tokens, `[B, D]`.

  Reimers and Gurevych 2019 (arXiv 1908.10084), section 3, normalised.

  Args:
    encoder: as `load` returns it.
    tokens: as `capture`, as are the errors raised.
    mask: as `capture`.
  """
  last = capture(encoder, tokens, mask).hidden[-1]
  wanted = (mask != 0)[..., None]
  mean = jnp.sum(last * wanted, axis=1) / jnp.sum(wanted, axis=1)
  return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)


def read(
    path: str | os.PathLike[str], texts: Sequence[str], length: int = 256
) -> tuple[np.ndarray, np.ndarray]:
  """Returns tokens and mask of texts, `[B, T]`, as a tokenizer's file says.

  Args:
    path: of `tokenizer.json`.
    texts: to be read, padded to the longest.
    length: T at most; what is beyond is cut.

  Raises:
    ValueError: no such file, one of another kind, or no text.
  """
  import tokenizers

  if not texts:
    raise ValueError("texts: expected one or more, got none")
  try:
    own = tokenizers.Tokenizer.from_file(os.fspath(path))
  except Exception as error:  # the library raises nothing narrower
    raise ValueError(
        f"{os.fspath(path)}: expected a tokenizer, got {error}"
    ) from error
  own.enable_truncation(length)
  own.enable_padding(pad_id=0, pad_token="[PAD]")
  found = own.encode_batch(list(texts))
  return (
      np.array([x.ids for x in found], np.int32),
      np.array([x.attention_mask for x in found], bool),
  )
