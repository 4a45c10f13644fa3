"""How a rank grows with the length, in words."""

import math
from typing import Sequence

import numpy as np

_FLAT = 0.02  # share by which ranks of two lengths may differ and be the same


def words(
    lengths: Sequence[int], ranks: Sequence[float], bound: int | None
) -> str:
  """Returns what least squares say of ranks: constant, log n or a power.

  Args:
    lengths: ascending.
    ranks: at each of them.
    bound: what theory says of them at the largest length, if anything.

  Returns:
    "at most 16", "grows like log n: +8.0 a doubling", "grows like n^0.98".
  """
  if len(lengths) < 3:
    return "too few lengths"
  if min(ranks) <= 0:
    return "no rank"
  before, last = ranks[-2:]
  if abs(last - before) <= _FLAT * last:
    return "constant" if bound is None else f"at most {bound}"
  doublings = [math.log2(n) for n in lengths]
  slope, missed = _line(doublings, ranks)
  power, bent = _line(doublings, np.log2(ranks))
  found = np.exp2(bent)
  if np.sum((missed - ranks) ** 2) < np.sum((found - ranks) ** 2):
    return f"grows like log n: {slope:+.1f} a doubling"
  return f"{'grows' if power > 0 else 'falls'} like n^{power:.2f}"


def _line(
    x: Sequence[float], y: Sequence[float] | np.ndarray
) -> tuple[float, np.ndarray]:
  """Slope of the line of least squares, and its values."""
  slope, start = np.polyfit(x, y, 1)
  return float(slope), start + slope * np.asarray(x)
