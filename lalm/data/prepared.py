"""A corpus as tokens in files, made once and mapped into memory.

`DIR/<digest>/` has train.npy and held_out.npy (uint16, or uint32 for more than
65,536 tokens), tokenizer.json and sizes.json. The digest is of the text and of
the vocabulary, so another text is another folder. A folder appears whole.
"""

import functools
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any, NamedTuple

import numpy as np

from lalm.data import corpus as corpus_lib
from lalm.data import tokens as tokens_lib

_SCHEMA = 3
_SIZES = "sizes.json"
_FILES = ("train.npy", "held_out.npy", "tokenizer.json")


class Prepared(NamedTuple):
  """Tokens of a corpus.

  Attributes:
    train: to train on, mapped.
    held_out: to judge by, mapped.
    tokenizer: that made them.
    digest: of text and vocabulary.
  """

  train: np.ndarray
  held_out: np.ndarray
  tokenizer: tokens_lib.Tokenizer
  digest: str


def prepare(name: str, vocabulary: int, folder: pathlib.Path) -> Prepared:
  """Returns a corpus as tokens, from the folder or made and kept there.

  Args:
    name: as `corpus.read` takes it.
    vocabulary: as `tokens.train` takes it.
    folder: of all that is prepared.

  Raises:
    ValueError: a corpus that cannot be read or is too short, or a vocabulary.
    OSError: the folder cannot be written.
  """
  corpus = corpus_lib.read(name)
  own = _digest(corpus, vocabulary)
  place = folder / own
  if not _whole(place):
    shutil.rmtree(place, ignore_errors=True)  # of a machine that went down
    _make(corpus, vocabulary, place)
  merges = (place / "tokenizer.json").read_text(encoding="utf-8")
  return Prepared(
      np.load(place / "train.npy", mmap_mode="r"),
      np.load(place / "held_out.npy", mmap_mode="r"),
      tokens_lib.loads(merges),
      own,
  )


@functools.lru_cache(maxsize=4)  # a sweep asks for each of its points
def digest(name: str, vocabulary: int, length: int) -> str:
  """Returns the digest of a corpus as tokens, of which no file is made.

  Args:
    name: as in `prepare`.
    vocabulary: as in `prepare`.
    length: of a context, which the corpus must be longer than.

  Raises:
    ValueError: a corpus that cannot be read or is too short, or a vocabulary.
  """
  corpus = corpus_lib.read(name)
  tokenizer = tokens_lib.train(vocabulary, corpus.train)
  for part, pieces in corpus._asdict().items():
    found = 0
    for piece in pieces:
      if found <= length:
        found += len(tokenizer.encode(piece))
    if found <= length:
      raise ValueError(
          f"corpus: expected more than {length} tokens, the length of a"
          f" context, in {part}, got {found}"
      )
  return _digest(corpus, vocabulary)


def _whole(place: pathlib.Path) -> bool:
  """Whether a folder has the files that it says it has."""
  try:
    sizes = json.loads((place / _SIZES).read_text(encoding="utf-8"))
    whole = all(_hash(place / n) == h for n, h in sizes["files"].items())
  except (OSError, ValueError, KeyError, AttributeError, TypeError):
    return False
  return whole and len(sizes["files"]) == len(_FILES)


def _hash(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(corpus: corpus_lib.Corpus, vocabulary: int) -> str:
  made = f"{_SCHEMA} {vocabulary} {tokens_lib.version(vocabulary)}"
  hashed = hashlib.sha256(made.encode())
  for part in corpus:
    hashed.update(f" {len(part)} ".encode())
    for piece in part:
      hashed.update(piece.encode("utf-8", errors="replace"))
  return hashed.hexdigest()[:16]


def _make(
    corpus: corpus_lib.Corpus, vocabulary: int, place: pathlib.Path
) -> None:
  """Writes a folder under another name, and gives it its own when whole."""
  tokenizer = tokens_lib.train(vocabulary, corpus.train)
  place.parent.mkdir(parents=True, exist_ok=True)
  made = pathlib.Path(tempfile.mkdtemp(prefix=".making-", dir=place.parent))
  try:
    kind = np.uint16 if vocabulary <= 2**16 else np.uint32
    sizes: dict[str, Any] = {}
    for part, pieces in corpus._asdict().items():
      each = [tokenizer.encode(piece) for piece in pieces]
      found = np.concatenate(each).astype(kind)
      np.save(made / f"{part}.npy", found)
      sizes[f"{part}_tokens"] = len(found)
    (made / "tokenizer.json").write_text(tokenizer.dumps(), encoding="utf-8")
    sizes["files"] = {name: _hash(made / name) for name in _FILES}
    (made / _SIZES).write_text(json.dumps(sizes), encoding="utf-8")
    made.chmod(0o755)
    try:
      os.rename(made, place)
    except OSError:
      if not _whole(place):  # else another made the same
        raise
  finally:
    shutil.rmtree(made, ignore_errors=True)
