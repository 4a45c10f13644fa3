"""Models in safetensors files: parameters by name, sizes beside them.

A parameter's name is its path, `mixer_0.qkv.kernel`; the file's metadata holds
the sizes and a card (what it was trained on, how long, its loss) as JSON.
Nothing in a file is ever executed, nor a module imported that it names, unless
that is asked for.
"""

from collections.abc import Mapping
import json
import os
from typing import Any, NamedTuple

from flax import traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import numpy as safetensors

from lalm import store
from lalm.models import sizes as sizes_lib
from lalm.models import tensors
from lalm.models import transformer

_SIZES, _CARD, _TOKENIZER = "lalm.sizes", "lalm.card", "lalm.tokenizer"


class Model(NamedTuple):
  """What a file holds.

  Attributes:
    parameters: as `transformer.init` returns them.
    sizes: of the model.
    card: what it says of itself.
    tokenizer: as `data.tokens.loads` reads it.
  """

  parameters: dict[str, Any]
  sizes: sizes_lib.Sizes
  card: dict[str, Any]
  tokenizer: str = ""


def save(path: str | os.PathLike[str], model: Model) -> None:
  """Writes a model; the file appears whole, or is as it was.

  Raises:
    OSError: it cannot be written.
  """
  flat = traverse_util.flatten_dict(model.parameters, sep=".")
  arrays = {name: np.asarray(x) for name, x in flat.items()}
  notes = {
      _SIZES: json.dumps(model.sizes.plain()),
      _CARD: json.dumps(model.card),
      _TOKENIZER: model.tokenizer,
  }
  store.replace(path, safetensors.save(arrays, notes))


def load(path: str | os.PathLike[str], *, own: bool = False) -> Model:
  """Reads what `save` has written.

  Args:
    path: of the file.
    own: whether its mixers may be `package.module:NAME`, which is imported.

  Raises:
    ValueError: no such file, one that is not whole, or of another kind, or
      parameters that are not finite.
  """
  arrays, notes = tensors.read(path)
  sizes = _sizes(path, notes, own)
  card = _card(path, notes)
  _check(path, arrays, sizes)
  parameters = traverse_util.unflatten_dict(
      {name: jnp.asarray(x) for name, x in arrays.items()}, sep="."
  )
  return Model(parameters, sizes, card, notes.get(_TOKENIZER, ""))


def sizes(path: str | os.PathLike[str]) -> sizes_lib.Sizes | None:
  """Returns the sizes of a model of ours, None of a file of another kind.

  Raises:
    ValueError: as of `load`, but for what is wrong with parameters.
  """
  notes = tensors.notes(path)
  return _sizes(path, notes, False) if _SIZES in notes else None


def _sizes(
    path: str | os.PathLike[str], notes: Mapping[str, str], own: bool
) -> sizes_lib.Sizes:
  if _SIZES not in notes:
    raise ValueError(
        f"{os.fspath(path)}: expected a model's sizes in the metadata, got"
        f" {', '.join(notes) or 'none'}"
    )
  try:
    plain = json.loads(notes[_SIZES])
    foreign = [x for x in plain.get("mixers", ()) if ":" in str(x)]
    if foreign and not own:
      raise ValueError(f"mixers: expected the library's, got {foreign[0]!r}")
    return sizes_lib.of(plain)
  except (
      ValueError, TypeError, KeyError, AttributeError, RecursionError
  ) as error:  # fmt: skip
    raise ValueError(
        f"{os.fspath(path)}: expected sizes that a model has, got {error}"
    ) from error


def _card(
    path: str | os.PathLike[str], notes: Mapping[str, str]
) -> dict[str, Any]:
  try:
    card = json.loads(notes.get(_CARD, "{}"))
    if not isinstance(card, dict):
      raise ValueError(repr(card))
  except (ValueError, RecursionError) as error:
    raise ValueError(
        f"{os.fspath(path)}: expected a card of names and values, got {error}"
    ) from error
  return card


def _check(
    path: str | os.PathLike[str],
    arrays: Mapping[str, np.ndarray],
    sizes: sizes_lib.Sizes,
) -> None:
  """Raises ValueError unless a file has finite parameters of its sizes."""
  like = jax.eval_shape(lambda: transformer.init(jax.random.key(0), sizes))
  wanted = {
      name: (x.shape, str(x.dtype))
      for name, x in traverse_util.flatten_dict(like, sep=".").items()
  }
  found = {name: (x.shape, str(x.dtype)) for name, x in arrays.items()}
  for name in sorted(set(wanted) | set(found)):
    if wanted.get(name) != found.get(name):
      raise ValueError(
          f"{os.fspath(path)}: expected {name} of"
          f" {wanted.get(name, 'none')}, got {found.get(name, 'none')}"
      )
    if not np.isfinite(arrays[name]).all():
      raise ValueError(
          f"{os.fspath(path)}: expected finite numbers in {name}, got some that"
          " are not"
      )
