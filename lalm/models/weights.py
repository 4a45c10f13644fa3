"""Weights of trained models as matrices with names and roles.

A safetensors file of BERT, GPT-2, Llama and their kin, or of a run of our own,
becomes a list of matrices, each `[out, in]`, so that a layer is y = W x,
however the file lays it out or packs q, k and v together. Nothing is ever
unpickled, nor is any code imported that a file names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import json
import os
import pathlib
import re
from typing import Any, NamedTuple

import numpy as np

from lalm import roles
from lalm.models import tensors as tensors_lib

_FLOATS = ("F64", "F32", "F16", "BF16")


class Matrix(NamedTuple):
  """One matrix of a model.

  Attributes:
    name: as in the file; of a part of a packed one, with `[q]` behind it.
    role: one of `roles.ALL`.
    layer: from 0, None where it is of no layer.
    values: `[out, in]`, float32 (float64 where the file has float64).
  """

  name: str
  role: str
  layer: int | None
  values: np.ndarray


class Weights(NamedTuple):
  """The matrices of a model.

  Attributes:
    matrices: in the order of layers and roles.
    heads: H of its attention, None where neither the file nor a `config.json`
      beside it says.
    key_heads: of k and v, which may be fewer.
  """

  matrices: tuple[Matrix, ...]
  heads: int | None = None
  key_heads: int | None = None

  def of_role(self, role: str) -> list[Matrix]:
    """Returns the matrices of a role, in the order of layers."""
    return [m for m in self.matrices if m.role == role]

  def of(self, role: str, layer: int | None = None) -> np.ndarray:
    """Returns the matrix of a role in a layer.

    Raises:
      ValueError: none is there, or several.
    """
    found = [
        m.values for m in self.matrices if (m.role, m.layer) == (role, layer)
    ]
    if len(found) != 1:
      place = "" if layer is None else f" in layer {layer}"
      raise ValueError(f"{role}: expected one{place}, got {len(found)}")
    return found[0]


# How a file lays a matrix out, as what makes the parts of it `[out, in]`.
Layout = Callable[[np.ndarray], dict[str, np.ndarray]]


def _as_it_is(role: str) -> Layout:
  return lambda x: {role: x}


def _turned(role: str) -> Layout:
  return lambda x: {role: x.T}


def _packed(x: np.ndarray) -> dict[str, np.ndarray]:
  """`[in, q k v]`; of keys and values there may be several a query."""
  width = x.shape[0]
  q, both = x[:, :width], x[:, width:]
  if not both.shape[1] or both.shape[1] % 2:
    return {"other": x.T}
  k, v = np.split(both, 2, axis=1)
  return {"q": q.T, "k": k.T, "v": v.T}


def _layers(before: str, own: Mapping[str, Layout]) -> dict[str, Layout]:
  return {rf"{before}{name}": layout for name, layout in own.items()}


_LAYOUTS: dict[str, Layout] = {
    # BERT and its kin (1810.04805).
    r"embeddings\.word_embeddings\.weight": _as_it_is("embedding"),
    **_layers(
        r"layer\.(\d+)\.",
        {
            r"attention\.self\.query\.weight": _as_it_is("q"),
            r"attention\.self\.key\.weight": _as_it_is("k"),
            r"attention\.self\.value\.weight": _as_it_is("v"),
            r"attention\.output\.dense\.weight": _as_it_is("o"),
            r"intermediate\.dense\.weight": _as_it_is("mlp_in"),
            r"output\.dense\.weight": _as_it_is("mlp_out"),
        },
    ),
    # GPT-2, whose products are x W.
    r"wte\.weight": _as_it_is("embedding"),
    **_layers(
        r"h\.(\d+)\.",
        {
            r"attn\.c_attn\.weight": _packed,
            r"attn\.c_proj\.weight": _turned("o"),
            r"mlp\.c_fc\.weight": _turned("mlp_in"),
            r"mlp\.c_proj\.weight": _turned("mlp_out"),
        },
    ),
    # Llama (2302.13971), Mistral, Qwen, Gemma.
    r"embed_tokens\.weight": _as_it_is("embedding"),
    **_layers(
        r"layers\.(\d+)\.",
        {
            r"self_attn\.q_proj\.weight": _as_it_is("q"),
            r"self_attn\.k_proj\.weight": _as_it_is("k"),
            r"self_attn\.v_proj\.weight": _as_it_is("v"),
            r"self_attn\.o_proj\.weight": _as_it_is("o"),
            r"mlp\.up_proj\.weight": _as_it_is("mlp_in"),
            r"mlp\.gate_proj\.weight": _as_it_is("mlp_gate"),
            r"mlp\.down_proj\.weight": _as_it_is("mlp_out"),
        },
    ),
    # Our own.
    r"tokens\.embedding": _as_it_is("embedding"),
    r"mixer_(\d+)\.qkv\.kernel": _packed,
    r"mixer_(\d+)\.out\.kernel": _turned("o"),
    r"network_(\d+)\.up\.kernel": _turned("mlp_in"),
    r"network_(\d+)\.gate\.kernel": _turned("mlp_gate"),
    r"network_(\d+)\.down\.kernel": _turned("mlp_out"),
}


def _compiled(
    layouts: Mapping[str, Layout],
) -> list[tuple[re.Pattern[str], Layout]]:
  return [
      (re.compile(rf"(?:.*\.)?{name}"), layout)
      for name, layout in layouts.items()
  ]


_KNOWN = _compiled(_LAYOUTS)
# GPT-Neo (Black et al. 2021) and GPT-BigCode, with GPT-2's names.
_UPRIGHT = _compiled(
    _layers(
        r"h\.(\d+)\.",
        {
            r"attn\.c_attn\.weight": lambda x: _packed(x.T),
            r"attn\.c_proj\.weight": _as_it_is("o"),
            r"attn\.attention\.q_proj\.weight": _as_it_is("q"),
            r"attn\.attention\.k_proj\.weight": _as_it_is("k"),
            r"attn\.attention\.v_proj\.weight": _as_it_is("v"),
            r"attn\.attention\.out_proj\.weight": _as_it_is("o"),
            r"mlp\.c_fc\.weight": _as_it_is("mlp_in"),
            r"mlp\.c_proj\.weight": _as_it_is("mlp_out"),
        },
    )
)
_EMBEDDING = re.compile(r"(?:^|\.)wte\.weight$")
_FIRST = re.compile(r"(?:^|\.)h\.\d+\.mlp\.c_fc\.weight$")


def tensors(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
  """Returns the arrays of a safetensors file by name.

  Args:
    path: of the file.

  Raises:
    ValueError: no such file, one that is damaged, or of another kind.
  """
  return _read(path)[0]


def read(path: str | os.PathLike[str]) -> Weights:
  """Returns the matrices of a model's safetensors file.

  A matrix whose name is of no known kind of model has the role "other".

  Args:
    path: of the file; a `config.json` beside it tells of heads.

  Raises:
    ValueError: no such file, one that is damaged, of another kind, without a
      matrix, or with one that has entries that are not finite.
  """
  arrays, notes = _read(path)
  known = _known(arrays)
  found = [m for name, x in arrays.items() for m in _matrices(name, x, known)]
  if not found:
    raise ValueError(
        f"{os.fspath(path)}: expected matrices, got {len(arrays)} arrays of"
        " other kinds"
    )
  for matrix in found:
    if not np.isfinite(matrix.values).all():
      raise ValueError(
          f"{os.fspath(path)}: expected finite entries in {matrix.name}, got"
          " some that are not"
      )
  found.sort(key=lambda m: (_rank(m.layer), roles.ALL.index(m.role), m.name))
  heads = _heads(pathlib.Path(path), notes)
  return Weights(tuple(found), *heads)


def _rank(layer: int | None) -> int:
  return -1 if layer is None else layer


def _read(
    path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], Mapping[str, str]]:
  """The floating-point arrays of a file, and its notes."""
  found = tensors_lib.read(path, _FLOATS)
  arrays = {name: _wide(x) for name, x in found.arrays.items()}
  return arrays, found.notes


def _wide(x: np.ndarray) -> np.ndarray:
  return x if x.dtype == np.float64 else x.astype(np.float32)


def _known(
    arrays: Mapping[str, np.ndarray],
) -> Sequence[tuple[re.Pattern[str], Layout]]:
  """The layouts of a file's names.

  GPT-Neo and its kin have the names of GPT-2 and `[out, in]`: that is told by
  what the first product of a network takes, the width of the embedding.
  """
  widths = [x.shape[1] for name, x in arrays.items() if _EMBEDDING.search(name)]
  first = [x.shape for name, x in arrays.items() if _FIRST.search(name)]
  if len(widths) == 1 and any(
      len(shape) == 2 and shape[1] == widths[0] != shape[0] for shape in first
  ):
    return [*_UPRIGHT, *_KNOWN]
  return _KNOWN


def _matrices(
    name: str,
    x: np.ndarray,
    known: Sequence[tuple[re.Pattern[str], Layout]],
) -> Iterator[Matrix]:
  """The matrices of one array: none, one, or those packed in it."""
  if x.ndim != 2 or min(x.shape) < 2:
    return
  for pattern, layout in known:
    if match := pattern.fullmatch(name):
      layer = int(match[1]) if match.groups() else None
      parts = layout(x)
      for role, values in parts.items():
        own = name if len(parts) == 1 else f"{name}[{role}]"
        yield Matrix(own, role, layer, values)
      return
  yield Matrix(name, "other", None, x)


def _heads(
    path: pathlib.Path, notes: Mapping[str, str]
) -> tuple[int | None, int | None]:
  """Heads of queries and of keys, where they are told."""
  try:
    told: Any = json.loads(notes["lalm.sizes"])
  except (KeyError, ValueError, RecursionError):
    try:
      told = json.loads((path.parent / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
      told = {}
  if not isinstance(told, dict):
    return None, None
  names = ("heads", "num_attention_heads", "n_head")
  heads = next((told[n] for n in names if _counts(told.get(n))), None)
  keys = told.get("num_key_value_heads", heads)
  return heads, keys if _counts(keys) else heads


def _counts(x: Any) -> bool:
  return isinstance(x, int) and not isinstance(x, bool) and x > 0
