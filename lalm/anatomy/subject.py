"""What a trained model computes of a text."""

from collections.abc import Callable, Iterable
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm.data import text
from lalm.data import tokens as tokens_lib
from lalm.models import bert
from lalm.models import captured
from lalm.models import files

BYTES = 16  # of a token at most, on average


class Subject(NamedTuple):
  """What is looked at.

  Attributes:
    capture: returns what the model computes of its text; where there are
      variants, with `skips` and `network` as `bert.capture` takes them.
    variants: whether it can be without them.
    causal: whether tokens see those before them alone.
  """

  capture: Callable[..., captured.Captured]
  variants: bool
  causal: bool


def check(path: pathlib.Path, length: int, causal: bool = True) -> None:
  """Looks at a model's file without its parameters.

  Args:
    path: as of `read`.
    length: T.
    causal: whether what is asked of the model may be asked of a causal one.

  Raises:
    ValueError: a length beyond the capacity, or a model that is causal.
  """
  sizes = files.sizes(path)
  if sizes is None:
    return
  if length > sizes.capacity:
    raise ValueError(
        f"length: expected at most {sizes.capacity}, the model's capacity, got"
        f" {length}"
    )
  if sizes.causal and not causal:
    raise ValueError("weights: expected a model that is not causal")


def read(
    path: pathlib.Path, corpus: str, batch: int, length: int, seed: int
) -> Subject:
  """Returns a model with stretches of a text.

  Args:
    path: of a safetensors file: one of ours, or of an encoder with
      `config.json` and `tokenizer.json` beside it.
    corpus: as `text.corpus_bytes` reads it.
    batch: B, stretches.
    length: T, tokens of each.
    seed: where they begin.

  Raises:
    ValueError: a file that is neither, or a length beyond the capacity.
  """
  stretches = [
      text.corpus_bytes(corpus, BYTES * length, seed=seed * batch + i)
      for i in range(batch)
  ]
  texts = [bytes(x).decode("utf-8", errors="ignore") for x in stretches]
  if files.sizes(path) is not None:
    model = files.load(path)
    read_by = tokens_lib.loads(model.tokenizer).encode
    found = _cut([read_by(x) for x in texts], length)
    capture = lambda: captured.of_ours(model.parameters, model.sizes, found)
    return Subject(capture, False, model.sizes.causal)
  encoder = bert.load(path)
  beside = path.parent / "tokenizer.json"
  rows, _ = bert.read(beside, texts, length)
  found = _cut(rows, length)
  return Subject(
      lambda **parts: bert.capture(encoder, found, **parts), True, False
  )


def _cut(rows: Iterable[Any], length: int) -> jax.Array:
  """Rows of so many tokens each."""
  found = [np.asarray(row, np.int32)[:length] for row in rows]
  short = min(map(len, found))
  if short < length:
    raise ValueError(f"length: expected at most {short} tokens, got {length}")
  return jnp.asarray(np.stack(found))
