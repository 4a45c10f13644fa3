"""Text as tokens: bytes, or pairs of them merged (BPE).

Byte pair encoding is of Sennrich et al. 2016 (arXiv 1508.07909), on bytes, by
the package `tokenizers`, trained on the text that it is for.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

BYTES = 256


class Tokenizer(NamedTuple):
  """From text to tokens and back.

  Attributes:
    vocabulary: how many tokens there are.
    merges: of `tokenizers`, or None for bytes.
  """

  vocabulary: int
  merges: Any = None

  def encode(self, text: str) -> np.ndarray:
    """Returns the tokens of a text, int32."""
    if self.merges is None:
      data = text.encode("utf-8", errors="replace")
      return np.frombuffer(data, np.uint8).astype(np.int32)
    return np.asarray(self.merges.encode(text).ids, np.int32)

  def decode(self, tokens: Iterable[int]) -> str:
    """Returns the text of tokens; bytes that are no character become U+FFFD."""
    ids = [int(token) for token in tokens]
    if self.merges is None:
      return bytes(ids).decode("utf-8", errors="replace")
    return self.merges.decode(ids)

  def sizes(self) -> np.ndarray:
    """Returns how many bytes each token of the vocabulary is of."""
    if self.merges is None:
      return np.ones(BYTES, np.int64)
    # A token's name has a character for each of its bytes.
    names = map(self.merges.id_to_token, range(self.vocabulary))
    return np.array([len(name) for name in names])

  def dumps(self) -> str:
    """Returns what `loads` reads."""
    return "" if self.merges is None else self.merges.to_str()


def train(vocabulary: int, pieces: Iterable[str]) -> Tokenizer:
  """Returns the tokenizer of a text: bytes if the vocabulary is 256.

  Args:
    vocabulary: of tokens, 256 or more.
    pieces: of the text.

  Raises:
    ValueError: a vocabulary of fewer than the bytes, or of more than the text
      has pairs for.
    ModuleNotFoundError: pairs are wanted without the extra `train`.
  """
  if vocabulary < BYTES:
    raise ValueError(f"vocabulary: expected {BYTES} or more, got {vocabulary}")
  if vocabulary == BYTES:
    return Tokenizer(BYTES)
  library = _library()
  merges = library.Tokenizer(library.models.BPE())
  byte_level = library.pre_tokenizers.ByteLevel
  merges.pre_tokenizer = byte_level(add_prefix_space=False)
  merges.decoder = library.decoders.ByteLevel()
  trainer = library.trainers.BpeTrainer(
      vocab_size=vocabulary,
      initial_alphabet=sorted(byte_level.alphabet()),
      show_progress=False,
  )
  merges.train_from_iterator(pieces, trainer)
  if merges.get_vocab_size() != vocabulary:
    raise ValueError(
        f"vocabulary: expected at most {merges.get_vocab_size()}, as many as"
        f" this text has pairs for, got {vocabulary}"
    )
  return Tokenizer(vocabulary, merges)


def version(vocabulary: int) -> str:
  """Returns what tells tokenizers of a vocabulary apart: who makes them."""
  if vocabulary == BYTES:
    return "bytes"
  return f"tokenizers {_library().__version__}"


def loads(text: str) -> Tokenizer:
  """Returns the tokenizer that `Tokenizer.dumps` has written."""
  if not text:
    return Tokenizer(BYTES)
  merges = _library().Tokenizer.from_str(text)
  return Tokenizer(merges.get_vocab_size(), merges)


def _library() -> Any:
  try:
    import tokenizers
  except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        'tokenizers: install the extra that has it, pip install "lalm[train]"'
    ) from error
  return tokenizers
