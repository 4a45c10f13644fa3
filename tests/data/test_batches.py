"""Batches are functions of (seed, step); the copy task is 0 w 0 w."""

import numpy as np
import pytest

from lalm.data import batches

_TEXT = np.arange(1000, dtype=np.uint16)


def test_a_batch_is_a_function_of_seed_and_step():
  draw = lambda seed, step: batches.windows(_TEXT, 4, 8, seed=seed, step=step)
  np.testing.assert_array_equal(draw(1, 2).tokens, draw(1, 2).tokens)
  assert (draw(1, 2).tokens != draw(1, 3).tokens).any()
  assert (draw(1, 2).tokens != draw(2, 2).tokens).any()


def test_windows_are_stretches_of_the_text_and_what_comes_next():
  found = batches.windows(_TEXT, 50, 8, seed=0, step=0)
  np.testing.assert_array_equal(np.diff(found.tokens, axis=1), 1)
  np.testing.assert_array_equal(found.targets, found.tokens + 1)
  assert found.tokens.dtype == np.int32 and found.weights.sum() == 50 * 8


def test_windows_begin_anywhere_from_the_first_to_the_last_that_fits():
  found = batches.windows(_TEXT[:11], 500, 8, seed=0, step=0)
  assert set(found.tokens[:, 0]) == {0, 1, 2}


def test_judging_sees_the_whole_text_at_equal_distances():
  found = batches.consecutive(_TEXT, 5, 100)
  assert found.tokens[0, 0] == 0 and found.targets[-1, -1] == 999
  assert np.ptp(np.diff(found.tokens[:, 0])) <= 1
  assert len(batches.consecutive(_TEXT, 50, 400).tokens) == 2


@pytest.mark.parametrize("draw", (batches.consecutive, batches.windows))
def test_a_text_as_short_as_a_context_is_refused(draw):
  more = dict(seed=0, step=0) if draw is batches.windows else {}
  with pytest.raises(ValueError, match="more than 8 tokens.*got 8"):
    draw(_TEXT[:8], 4, 8, **more)


def test_a_copy_is_a_word_twice_between_separators():
  found = batches.copies(200, 20, 10, seed=0, step=0)
  whole = np.concatenate([found.tokens, found.targets[:, -1:]], axis=1)
  sizes = set()
  for row, weights in zip(whole, found.weights):
    assert row[0] == 0
    size = list(row[1:]).index(0)
    word = row[1 : 1 + size]
    assert (1 <= word).all() and (word <= 10).all()
    np.testing.assert_array_equal(row[size + 2 : 2 * size + 2], word)
    assert (row[2 * size + 2 :] == 0).all()
    expected = np.zeros(20)
    expected[size + 1 : 2 * size + 1] = 1  # whose targets are the second word
    np.testing.assert_array_equal(weights, expected)
    sizes.add(size)
  assert sizes == set(range(5, 9))  # from a quarter of the tokens
  assert set(whole.ravel()) == set(range(11))


def test_copies_are_functions_of_seed_and_step():
  draw = lambda seed, step: batches.copies(4, 16, seed=seed, step=step).tokens
  np.testing.assert_array_equal(draw(3, 5), draw(3, 5))
  assert (draw(3, 5) != draw(3, 6)).any() and (draw(3, 5) != draw(4, 5)).any()


@pytest.mark.parametrize("sizes", ((3, 10), (16, 0)))
def test_a_copy_without_room_or_symbols_is_refused(sizes):
  with pytest.raises(ValueError, match="expected"):
    batches.copies(2, *sizes, seed=0, step=0)
