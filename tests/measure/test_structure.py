"""What a record says of a matrix, on matrices whose blocks are known."""

import numpy as np
import pytest

from lalm.measure import structure


def _state(length, width, columns=1, seed=0):
  """A causal matrix that reads the past through `width` numbers."""
  generator = np.random.default_rng(seed)
  q = generator.standard_normal((length, width))
  k = generator.standard_normal((length * columns, width))
  token = np.arange(length * columns) // columns
  return np.where(token <= np.arange(length)[:, None], q @ k.T, 0)


def test_cuts_are_inside_and_the_middle_is_one():
  assert structure.cuts(24) == [6, 8, 11, 12, 16, 18]
  for length in range(2, 40):
    found = structure.cuts(length)
    assert found == sorted(set(found)) and length // 2 in found
    assert found[0] >= 1 and found[-1] < length


@pytest.mark.parametrize("columns", [1, 2])
def test_blocks_have_the_rank_of_the_state(columns):
  found = structure.of_head(_state(24, 3, columns), columns)
  assert found["ranks"] == [3] * 6
  assert len(found["values"]) == 3
  assert 1 < found["middle"]["stable_rank"] < 3 + 1e-9
  assert 1 < found["middle"]["effective_rank"] < 3 + 1e-9
  assert found["whole"]["effective_rank"] > 3  # its diagonal is full


def test_values_are_of_the_block_in_the_middle_in_six_digits():
  matrix = np.zeros((8, 8))
  matrix[4:, :4] = np.diag([3, 1 / 3, 1e-4, 0])
  found = structure.of_head(matrix)
  assert found["values"] == [3.0, 0.333333, 1e-4]
  # Cuts 2, 3, 4, 5 and 6: what of it is still below them.
  assert found["ranks"] == [2, 3, 3, 2, 1]
  assert found["practical_ranks"] == [2, 2, 2, 1, 1]


def test_a_token_of_two_columns_is_cut_after_both():
  matrix = np.zeros((8, 16))
  matrix[4, 7] = 1  # the second column of token 3
  # At cuts 2 and 3 it is right of the block, at 5 and 6 above it.
  assert structure.of_head(matrix, 2)["ranks"] == [0, 0, 1, 0, 0]


def test_nothing_below_the_diagonal_is_rank_zero():
  found = structure.of_head(np.eye(8))
  assert set(found["ranks"] + found["practical_ranks"]) == {0}
  assert found["middle"] == {"effective_rank": 0.0, "stable_rank": 0.0}
  assert found["whole"] == {"effective_rank": 8.0, "stable_rank": 8.0}
  assert not found["values"]


def test_a_picture_has_the_largest_entry_of_each_cell():
  assert structure.picture(np.diag([1.0, -10.0])) == [[0, None], [None, 1]]
  matrix = np.full((64, 128), 1e-4)
  matrix[2, 5] = -0.02
  found = structure.picture(matrix)
  assert len(found) == len(found[0]) == structure.CELLS
  assert found[1][1] == -1.7 and {x for row in found for x in row} == {-4, -1.7}


def test_a_rank_beyond_its_bound_is_told():
  blocks = {"cuts": [4, 6], "bounds": [2, 2], "bound": "F", "heads": []}
  blocks["heads"] = [{"ranks": [2, 1]}, {"ranks": [1, 3]}]
  words = "rank: expected at most 2 (F) below 6, got 3 in head 1"
  assert structure.beyond(blocks) == words
  assert not structure.beyond({**blocks, "bounds": [None, None]})
  assert not structure.beyond({**blocks, "bounds": [2, 3]})
