"""Corpora in pieces, as tokens, in files."""

import json

import numpy as np
import pytest

from lalm.data import corpus
from lalm.data import prepared
from lalm.data import tokens


def _written(tmp_path, text, name="text.txt"):
  path = tmp_path / name
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return str(path)


def test_no_character_is_lost_or_held_out_twice(tmp_path):
  lines = [f"line {i} of a text\n" for i in range(100_000)]
  found = corpus.read(_written(tmp_path, "".join(lines)))
  pieces = sorted("".join(p) for p in (*found.train, *found.held_out))
  assert sorted("".join(pieces).splitlines()) == sorted(
      line.strip() for line in lines
  )
  assert all(piece.endswith("\n") for piece in pieces)
  share = sum(map(len, found.held_out)) / sum(map(len, lines))
  assert 0.05 < share < 0.15


def test_of_a_small_file_the_last_tenth_is_held_out(tmp_path):
  found = corpus.read(_written(tmp_path, "some words\n" * 40))
  assert "".join(found.train + found.held_out) == "some words\n" * 40
  assert found.held_out == ["some words\n" * 4]


def test_a_folder_is_joined(tmp_path):
  for name in "abc":
    _written(tmp_path, f"{name}\n" * 100, name)
  found = corpus.read(str(tmp_path))
  assert sum(map(len, found.train + found.held_out)) == 600


@pytest.mark.parametrize(
    "text, message",
    (
        (b"", "got none"),
        (b"x", "a tenth to hold out, got 1 char"),
        (b"good\n" * 9 + b"\xff", "expected UTF-8 text in .*0xff at 45"),
    ),
)
def test_a_text_that_will_not_do_is_refused(tmp_path, text, message):
  with pytest.raises(ValueError, match=message):
    corpus.read(_written(tmp_path, text))


def test_a_missing_file_is_refused(tmp_path):
  with pytest.raises(ValueError, match="expected a file or folder"):
    corpus.read(str(tmp_path / "none"))


def test_glosses_are_of_wordnet_without_its_licence(tmp_path, monkeypatch):
  monkeypatch.setattr(corpus, "_GLOSSES", tmp_path)
  with pytest.raises(ValueError, match="wordnet-base"):
    corpus.read(corpus.WORDNET)
  rows = [
      f"0000 n 01 word 0 000 | meaning {i}; an example  " for i in range(40)
  ]
  _written(tmp_path, "\n".join(["  1 licence | x", *rows]), "data.noun")
  found = corpus.read(corpus.WORDNET)
  joined = "".join(found.train + found.held_out)
  assert joined.splitlines() == [f"meaning {i}; an example" for i in range(40)]


_TEXT = "the cat sat on the mat, the café is naïve — 你好\n" * 50


@pytest.mark.parametrize("vocabulary", (256, 280))
def test_tokens_are_the_text(vocabulary):
  one = tokens.train(vocabulary, [_TEXT])
  assert one.vocabulary == vocabulary
  found = one.encode(_TEXT)
  assert found.min() >= 0 and found.max() < vocabulary
  assert one.decode(found) == _TEXT
  other = tokens.loads(one.dumps())
  assert other.vocabulary == vocabulary
  np.testing.assert_array_equal(other.encode(_TEXT), found)


def test_pairs_make_fewer_tokens_than_bytes():
  found = tokens.train(280, [_TEXT]).encode(_TEXT)
  assert len(found) < len(_TEXT.encode()) / 2


def test_bytes_of_no_character_are_shown_as_such():
  assert tokens.train(256, []).decode([65, 255]) == "A�"


@pytest.mark.parametrize("vocabulary", (255, 5000))
def test_a_vocabulary_out_of_reach_is_refused(vocabulary):
  with pytest.raises(ValueError, match=f"got {vocabulary}"):
    tokens.train(vocabulary, [_TEXT])


def test_a_corpus_is_prepared_once(tmp_path):
  path = _written(tmp_path, _TEXT)
  folder = tmp_path / "kept"
  first = prepared.prepare(path, 280, folder)
  (place,) = folder.iterdir()
  changed = {p.name: p.stat().st_mtime_ns for p in place.iterdir()}
  again = prepared.prepare(path, 280, folder)
  assert {p.name: p.stat().st_mtime_ns for p in place.iterdir()} == changed
  assert isinstance(again.train, np.memmap)
  np.testing.assert_array_equal(first.train, again.train)
  whole = corpus.read(path)
  assert again.tokenizer.decode(again.train) == "".join(whole.train)
  held_out = "".join(whole.held_out)
  assert again.tokenizer.decode(again.held_out) == held_out
  sizes = again.tokenizer.sizes()[again.held_out]
  assert sizes.sum() == len(held_out.encode())
  assert json.loads((place / "sizes.json").read_text())


def test_another_text_or_vocabulary_is_another_folder(tmp_path):
  folder = tmp_path / "kept"
  digests = {
      prepared.prepare(_written(tmp_path, text), vocabulary, folder).digest
      for text in (_TEXT, _TEXT + "more of it\n")
      for vocabulary in (256, 280)
  }
  assert len(digests) == len(list(folder.iterdir())) == 4


def test_what_was_begun_and_not_ended_is_not_taken(tmp_path, monkeypatch):
  path, folder = _written(tmp_path, _TEXT), tmp_path / "kept"

  def fail(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(prepared.os, "rename", fail)
    with pytest.raises(KeyboardInterrupt):
      prepared.prepare(path, 280, folder)
  assert not list(folder.iterdir())
  assert len(prepared.prepare(path, 280, folder).train)
