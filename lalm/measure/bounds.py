"""What theory says of the rank of a block of attention's matrix.

The block A[i:, :i] is what the tokens from i on read of those before. Where
they read it through a state of F x V, it has the factors Q' [T - i, F] and
K' [F, i], so a rank of at most F, whatever the transitions; where they read a
few keys, landmarks or a window, at most as many.
"""

from typing import Any, Mapping, NamedTuple

from lalm.attention import linformer
from lalm.attention import nystromformer

Point = Mapping[str, Any]


class Bound(NamedTuple):
  """A bound on the rank of a block.

  Attributes:
    rank: at most so much; None where there is none but the block's sides.
    words: what it is: "F", "W - 1".
  """

  rank: int | None
  words: str


def of(mechanism: Any, point: Point, cut: int) -> Bound:
  """Returns the bound of a mechanism's block below a cut.

  Args:
    mechanism: of the catalogue, or one's own, whose `transition` says whether
      it has a state.
    point: its length, width and window.
    cut: i.
  """
  length, width = point["length"], point["width"]
  features = mechanism.features(width)
  if mechanism.name == "window":
    return Bound(point["window"] - 1, "W - 1")
  if mechanism.name == "linformer":
    return Bound(linformer.projected(length), "P")
  if mechanism.name == "nystromformer":
    return Bound(min(nystromformer.LANDMARKS, length), "landmarks")
  if mechanism.name == "loglinear":
    return Bound(buckets(cut, length, features), "F a bucket")
  if not mechanism.transition or mechanism.transition.startswith("none"):
    return Bound(None, "none")
  return Bound(features, "F")


def buckets(cut: int, length: int, features: int) -> int:
  """Returns the bound of log-linear attention, at most F (1 + log2 i).

  The tokens before i are a bucket of 2^b for each bit b of i, which later rows
  read through min(F, 2^b) numbers. As t passes multiples of 2, 4, 8, ..., the
  short buckets become one, and rows read no more than before through F numbers
  in their place: what rows from t on read is within d(t) numbers, and d falls.
  So, whatever t is, the rank is at most t - i, of the rows before t, and d(t).

  Args:
    cut: i.
    length: T.
    features: F.
  """
  bound, row = length - cut, cut
  while row < length:
    bound = min(bound, row - cut + _read(row, cut, features))
    row += row & -row  # where its shortest bucket is merged with the next
  return bound


def _read(row: int, cut: int, features: int) -> int:
  """d(t): through how many numbers a row reads the tokens before the cut."""
  start, count = 0, 0
  for bit in reversed(range(row.bit_length())):
    if row >> bit & 1:
      count += min(features, 1 << bit, max(0, cut - start))
      start += 1 << bit
  return count
