"""Text to train on: named corpora, files and folders, in pieces.

  ""         sources of Python's standard library, on every machine
  "wordnet"  glosses of WordNet 3.0 (Fellbaum 1998), 9 MB of English, where
             Debian's package wordnet-base is installed
  "news"     300 English news stories (Lee, Pincombe and Welsh 2005), 0.4 MB,
             where the package gensim is installed
  PATH       a UTF-8 file, or a folder whose files are joined

Pieces are of about 64 KiB and end with a line. Every tenth is held out: it is
of the same kind of text as what is trained on, and none of it.
"""

import pathlib
from typing import NamedTuple

from lalm.data import text

WORDNET = "wordnet"
_GLOSSES = pathlib.Path("/usr/share/wordnet")
_PIECE = 2**16  # characters
_HELD_OUT = 10  # one piece of so many


class Corpus(NamedTuple):
  """Pieces to train on and pieces held out."""

  train: list[str]
  held_out: list[str]


def read(name: str) -> Corpus:
  """Returns a corpus in pieces.

  Args:
    name: as at the top of this module.

  Raises:
    ValueError: it does not exist, is empty, is not UTF-8 text, or is too short
      to hold a piece out.
  """
  pieces = [piece for whole in _texts(name) for piece in _pieces(whole)]
  held_out = pieces[_HELD_OUT - 1 :: _HELD_OUT]
  if not held_out:  # a small file: its last tenth
    whole = "".join(pieces)
    cut = len(whole) - len(whole) // _HELD_OUT
    cut = whole.rfind("\n", len(whole) // 2, cut) + 1 or cut
    pieces, held_out = [whole[:cut]], [whole[cut:]]
  else:
    del pieces[_HELD_OUT - 1 :: _HELD_OUT]
  if not any(pieces) or not any(held_out):
    raise ValueError(
        "corpus: expected text to train on and a tenth to hold out, got"
        f" {sum(map(len, pieces + held_out))} characters in {name!r}"
    )
  return Corpus(pieces, held_out)


def _texts(name: str) -> list[str]:
  """The documents of a corpus."""
  if name == WORDNET:
    return [_glosses()]
  found = []
  for path in text.files(name):
    try:
      found.append(path.read_bytes().decode("utf-8"))
    except OSError as error:
      raise ValueError(
          f"corpus: cannot read {path}: {error.strerror}"
      ) from error
    except UnicodeDecodeError as error:
      raise ValueError(
          f"corpus: expected UTF-8 text in {path}, got byte"
          f" {error.object[error.start]:#04x} at {error.start}"
      ) from error
  if not any(found):
    raise ValueError(f"corpus: expected some text, got none in {name!r}")
  return found


def _glosses() -> str:
  """Glosses, one a line, in the order of the files and of their lines."""
  paths = sorted(_GLOSSES.glob("data.*"))
  if not paths:
    raise ValueError(
        f"corpus: expected WordNet in {_GLOSSES}, got none (on Debian: apt"
        " install wordnet-base)"
    )
  lines = []
  for path in paths:
    for line in path.read_text(encoding="utf-8").splitlines():
      if not line.startswith("  "):  # the licence
        lines.append(line.partition("| ")[2].strip())
  return "\n".join(lines) + "\n"


def _pieces(whole: str) -> list[str]:
  """A text cut at ends of lines, into pieces of about the same length."""
  pieces, start = [], 0
  while len(whole) - start > _PIECE:
    end = whole.rfind("\n", start, start + _PIECE) + 1 or start + _PIECE
    pieces.append(whole[start:end])
    start = end
  pieces.append(whole[start:])
  return [piece for piece in pieces if piece]
