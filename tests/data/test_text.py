"""Inputs made of text: deterministic, of the order of one, never copies."""

import sys

import ml_dtypes
import numpy as np
import pytest

from lalm.data import text

_SMALL = dict(batch=2, length=96, heads=4, width=8)


def test_a_file_gives_its_own_bytes_in_order(tmp_path):
  path = tmp_path / "corpus.txt"
  path.write_bytes(bytes(range(200)))
  found = text.corpus_bytes(str(path), 100)
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(np.diff(found.astype(int)) % 200, 1)


def test_a_short_corpus_is_repeated(tmp_path):
  path = tmp_path / "corpus.txt"
  path.write_bytes(b"abc")
  found = bytes(text.corpus_bytes(str(path), 8))
  assert found in b"abc" * 4 and len(found) == 8


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
  (tmp_path / "k").mkdir()
  for name in ("m", "k/b", "c", "z", "k/a", "f", "q", "a", "t", "h"):
    (tmp_path / name).write_text(name[-1])
  (tmp_path / ".hidden").write_bytes(b"X" * 100)
  found = bytes(text.corpus_bytes(str(tmp_path), 10))
  assert found in b"acfhabmqtz" * 2


def test_a_folder_may_be_one_that_others_leave_out(tmp_path):
  own = tmp_path / "site-packages" / "own"
  (own / "__pycache__").mkdir(parents=True)
  (own / "a").write_text("abc")
  (own / "__pycache__" / "b").write_text("XXX")
  assert bytes(text.corpus_bytes(str(own), 6)) in b"abc" * 4
  with pytest.raises(ValueError, match="corpus: expected"):
    text.corpus_bytes(str(tmp_path), 6)


def test_the_default_corpus_is_the_sources_of_the_standard_library():
  found = bytes(text.corpus_bytes(text.STANDARD_LIBRARY, 20_000))
  assert found.count(b"self") > 10
  assert found.count(b"import") + found.count(b"def ") > 10


def test_news_are_those_of_a_package_that_is_not_imported(
    tmp_path, monkeypatch
):
  monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
  monkeypatch.setitem(sys.modules, "gensim", None)
  monkeypatch.delitem(sys.modules, "gensim")
  stories = tmp_path / "gensim" / "test" / "test_data" / "lee_background.cor"
  stories.parent.mkdir(parents=True)
  (tmp_path / "gensim" / "__init__.py").write_text("raise ImportError")
  with pytest.raises(ValueError, match="lee_background.cor .* pip install"):
    text.corpus_bytes(text.NEWS, 10)
  stories.write_text("a story\n")
  assert sorted(text.corpus_bytes(text.NEWS, 8)) == sorted(b"a story\n")


def test_the_seed_chooses_the_stretch():
  first, again, other = (text.corpus_bytes("", 1000, s) for s in (0, 0, 1))
  np.testing.assert_array_equal(first, again)
  assert np.any(first != other)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda folder: folder / "absent", "expected a file or folder"),
        (lambda folder: folder, "expected some bytes"),
        (lambda folder: _touch(folder / "empty.txt"), "expected some bytes"),
    ],
)
def test_a_missing_or_empty_corpus_says_so(tmp_path, make, words):
  with pytest.raises(ValueError, match=f"corpus: {words}"):
    text.corpus_bytes(str(make(tmp_path)), 10)


def _touch(path):
  path.touch()
  return path


def test_shapes_follow_the_heads_and_widths():
  q, k, v = text.projected("", 0, **_SMALL, kv_heads=2, value_width=5)
  assert q.shape == (2, 96, 4, 8)
  assert k.shape == (2, 96, 2, 8)
  assert v.shape == (2, 96, 2, 5)
  assert {a.dtype for a in (q, k, v)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("corpus", ["", text.NORMAL])
def test_the_same_arguments_give_the_same_arrays(corpus):
  first = text.projected(corpus, 3, **_SMALL)
  text.projected(corpus, 4, **_SMALL)  # what is kept from before must not tell
  again = text.projected(corpus, 3, **_SMALL)
  for a, b in zip(first, again):
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("corpus", ["", text.NORMAL])
def test_seed_and_role_change_the_arrays(corpus):
  first = text.projected(corpus, 3, **_SMALL)
  other = text.projected(corpus, 4, **_SMALL)
  for a, b in zip(first, other):
    assert np.abs(a - b).mean() > 0.1
  assert np.abs(first.q - first.k).mean() > 0.1
  assert np.abs(first.k - first.v).mean() > 0.1


@pytest.mark.parametrize("corpus", ["", text.NORMAL])
def test_entries_and_logits_are_of_order_one(corpus):
  q, k, v = text.projected(corpus, 0, batch=1, length=2048, heads=4, width=64)
  for array in (q, k, v):
    assert 0.8 < array.std() < 1.25
  logits = np.einsum("thk,shk->hts", q[0, ::64], k[0, ::64]) / 8
  assert 0.5 < logits.std() < 2.0
  assert np.abs(logits).max() < 12


def test_no_two_tokens_are_copies_though_bytes_repeat(tmp_path):
  path = tmp_path / "corpus.txt"
  path.write_bytes(b"a" * 50)
  _, k, _ = text.projected(str(path), 0, batch=1, length=64, heads=1, width=8)
  assert len(np.unique(np.round(k[0, :, 0], 4), axis=0)) == 64


def test_a_byte_changes_its_token_and_the_three_after_it(tmp_path):
  path = tmp_path / "corpus.txt"
  keys, symbols = [], []
  for changed in (b"x", b"y"):
    path.write_bytes(b"a" * 40 + changed + b"a" * 23)
    whole = text.projected(str(path), 0, batch=1, length=64, heads=1, width=16)
    keys.append(whole.k[0, :, 0])
    symbols.append(text.corpus_bytes(str(path), 64, 0))
  place = int(np.flatnonzero(symbols[0] != symbols[1])[0])
  change = np.linalg.norm(keys[0] - keys[1], axis=1)
  expected = range(place, min(place + 4, 64))
  np.testing.assert_array_equal(np.flatnonzero(change), expected)
  assert change.argmax() == place


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_the_dtype_is_the_one_asked_for(dtype):
  q, _, _ = text.projected("", 0, **_SMALL, dtype=dtype)
  full, _, _ = text.projected("", 0, **_SMALL)
  assert q.dtype == np.dtype(getattr(ml_dtypes, dtype, dtype))
  np.testing.assert_allclose(q.astype(np.float32), full, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["batch", "length", "heads", "width"])
def test_an_extent_below_one_is_refused(name):
  with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
    text.projected("", 0, **{**_SMALL, name: 0})


def test_a_digest_is_of_the_bytes_that_may_be_read(tmp_path):
  path = tmp_path / "corpus"
  path.write_bytes(b"abcdefgh")
  before = text.digest(str(path), 2)  # of up to four bytes
  path.write_bytes(b"abcd????")
  assert text.digest(str(path), 2) == before
  path.write_bytes(b"abc?efgh")
  assert text.digest(str(path), 2) != before
  assert text.digest("normal", 2) == "normal"
  with pytest.raises(ValueError, match="corpus"):
    text.digest(str(tmp_path / "none"), 2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_that_are_kept_are_those_drawn_afresh(monkeypatch, dtype):
  def drawn(seed, length):
    sizes = {**_SMALL, "length": length, "value_width": 5, "dtype": dtype}
    return text.projected(text.NORMAL, seed, **sizes)

  monkeypatch.setattr(text, "_drawn", {})
  order = [(0, 7), (0, 96), (0, 31), (1, 40), (0, 96), (1, 7), (0, 7)]
  kept = [drawn(*each) for each in order]
  for each, found in zip(order, kept):
    text._drawn.clear()
    for a, b in zip(drawn(*each), found):
      np.testing.assert_array_equal(a, b)


def test_fewer_tokens_are_not_drawn_again_and_more_are(monkeypatch):
  monkeypatch.setattr(text, "_drawn", {})
  made, generator = [], text._generator
  monkeypatch.setattr(
      text, "_generator", lambda *of: made.append(of) or generator(*of)
  )
  for length, drawn in ((32, 3), (32, 3), (5, 3), (33, 6), (8, 6)):
    text.projected(text.NORMAL, 0, **{**_SMALL, "length": length})
    assert len(made) == drawn


def test_no_more_is_kept_than_one_draw_and_a_share_of_the_memory(monkeypatch):
  monkeypatch.setattr(text, "_drawn", {})
  for seed in range(4):
    text.projected(text.NORMAL, seed, **_SMALL)
  assert [key[0] for key in text._drawn] == [3, 3, 3]
  size = _SMALL["batch"] * _SMALL["length"] * 32 * 4
  monkeypatch.setattr(text, "_kept_bytes", lambda: size - 1)
  text.projected(text.NORMAL, 4, **_SMALL)
  assert {key[0] for key in text._drawn} == {3}


def test_what_is_kept_cannot_be_changed():
  q, _, _ = text.projected(text.NORMAL, 0, **_SMALL)
  with pytest.raises(ValueError, match="read-only"):
    q[:] = 0
