"""Growth in words, of sequences whose growth is known."""

import pytest

from lalm.report import growth

_LENGTHS = [64, 128, 256, 512, 1024]


@pytest.mark.parametrize(
    ("ranks", "bound", "expected"),
    [
        ([16] * 5, 16, "at most 16"),
        ([32, 64, 128, 153, 153], 273, "at most 273"),
        ([60, 62, 63, 64, 64.5], None, "constant"),
        ([32, 64, 128, 256, 512], None, "grows like n^1.00"),
        ([8, 11.3, 16, 22.6, 32], 40, "grows like n^0.50"),
        ([22, 37, 42, 53, 58], 58, "grows like log n: +8.8 a doubling"),
        ([10, 15, 20, 25, 30], None, "grows like log n: +5.0 a doubling"),
        ([64, 32, 16, 8, 4], None, "falls like n^-1.00"),
        ([0, 0, 0, 0, 0], None, "no rank"),
    ],
)
def test_ranks_grow_as_they_do(ranks, bound, expected):
  assert growth.words(_LENGTHS, ranks, bound) == expected


def test_two_lengths_are_no_law():
  assert growth.words([64, 128], [16, 16], 16) == "too few lengths"
