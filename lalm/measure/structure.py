"""The blocks below the diagonal of one head's matrix, in numbers of a record.

A block A[i:, :i] is what the tokens from i on read of those before. At i = n/2
it is the largest; near n/3 and 2n/3 the cut is 101010... in binary, where a
hierarchy of powers of two has the most buckets that later rows tell apart, at
powers of two it has one.
"""

import math
from typing import Any, Mapping

import numpy as np

from lalm.spectral import lapack
from lalm.spectral import rank

PRACTICAL = 1e-3  # of the largest singular value: what a low rank would lose
CELLS = 32  # of a picture's side
_KEPT = 512  # singular values in a record, at most
_DIGITS = 6


def cuts(length: int) -> list[int]:
  """Returns the cuts of so many tokens, ascending; n/2 is one of them."""
  n = length
  some = (n // 4, n // 3, n // 2 - 1, n // 2, 2 * n // 3, 3 * n // 4)
  return sorted({cut for cut in some if 1 <= cut < n})


def of_head(matrix: np.ndarray, columns: int = 1) -> dict[str, Any]:
  """Returns the ranks of a matrix and of its blocks.

  Args:
    matrix: `[T, T r]`.
    columns: r, those of a token.

  Returns:
    `ranks` and `practical_ranks` of the block at each cut, above rounding and
    above `PRACTICAL`; effective and stable rank of the `whole` and of the
    `middle` block, and the singular values of the latter above rounding.
  """
  at = cuts(len(matrix))
  blocks = [rank.block_below(matrix, cut, columns) for cut in at]
  values = [lapack.singular_values(block) for block in blocks]
  ranks = [
      int(rank.numerical_rank(own, shape=block.shape))
      for own, block in zip(values, blocks)
  ]
  half = at.index(len(matrix) // 2)
  kept = values[half][: min(ranks[half], _KEPT)]
  return {
      "ranks": ranks,
      "practical_ranks": [
          int(rank.numerical_rank(own, PRACTICAL)) for own in values
      ],
      "whole": _smooth(lapack.singular_values(matrix)),
      "middle": _smooth(values[half]),
      "values": [_short(value) for value in kept],
  }


def _smooth(values: np.ndarray) -> dict[str, float]:
  """The ranks that need no tolerance."""
  return {
      "effective_rank": _short(rank.effective_rank(values)),
      "stable_rank": _short(rank.stable_rank(values)),
  }


def _short(value: float) -> float:
  return float(f"{value:.{_DIGITS}g}")


def picture(matrix: np.ndarray) -> list[list[float | None]]:
  """Returns log10 of the largest |A| in each cell of a coarse grid.

  Args:
    matrix: `[M, N]`.

  Returns:
    At most `CELLS` rows and columns, with one decimal; None where all is zero.
  """
  rows = np.array_split(np.abs(matrix), min(CELLS, matrix.shape[0]))
  side = min(CELLS, matrix.shape[1])
  cells = [[np.max(x) for x in np.array_split(r, side, axis=1)] for r in rows]
  return [
      [round(math.log10(x), 1) if x else None for x in row] for row in cells
  ]


def beyond(blocks: Mapping[str, Any]) -> str:
  """Returns how ranks exceed their bounds, "" where none does.

  Args:
    blocks: `cuts`, `bounds` and the `heads` with their `ranks`.
  """
  for head, found in enumerate(blocks["heads"]):
    triples = zip(blocks["cuts"], blocks["bounds"], found["ranks"])
    for cut, bound, count in triples:
      if bound is not None and count > bound:
        return (
            f"rank: expected at most {bound} ({blocks['bound']}) below"
            f" {cut}, got {count} in head {head}"
        )
  return ""
