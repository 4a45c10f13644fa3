"""A law in a word, where the interval allows it.

Words stand for exponents: constant 0, linear 1, n log n its effective
exponent over the lengths measured, quadratic 2, cubic 3.  A word is given
only when its exponent lies in the 95 % interval or next to it, no other
word's exponent lies in the wider 99 % one, and the interval is narrow.  An
interval strictly between two words, with room to spare, says "sublinear",
"between linear and quadratic" or "between quadratic and cubic".
"""

import numpy as np

INCONCLUSIVE = "inconclusive"
# Wider intervals name nothing: half the distance from linear to quadratic.
WIDEST = 0.5
# An exponent this near to a word's is that word: 1.01 is linear.
NEAR = 0.02
# Room between an interval and the whole exponents on either side of it.
ROOM = 0.1
BETWEEN = (
    (0.0, 1.0, "sublinear"),
    (1.0, 2.0, "between linear and quadratic"),
    (2.0, 3.0, "between quadratic and cubic"),
)


def words(abscissa: np.ndarray) -> dict[str, float]:
  """Exponent of each word.

  Args:
    abscissa: [lengths], at least two, increasing, positive.

  Returns:
    word -> exponent; n log n by its least-squares slope over an abscissa above
    1, where it is positive.
  """
  table = {"constant": 0.0, "linear": 1.0, "quadratic": 2.0, "cubic": 3.0}
  logarithm = np.log(np.asarray(abscissa, float))
  if logarithm[0] > 0:
    term = logarithm + np.log(logarithm)
    table["n log n"] = float(np.polyfit(logarithm, term, 1)[0])
  return table


def _inside(
    exponent: float, interval: tuple[float, float], room: float
) -> bool:
  """Membership in an interval with some room at its ends."""
  return interval[0] - room <= exponent <= interval[1] + room


def _between(wide: tuple[float, float]) -> str:
  """The words around an interval that holds none, or ""."""
  for low, high, word in BETWEEN:
    if low + ROOM < wide[0] and wide[1] < high - ROOM:
      return word
  return ""


def decide(
    interval: tuple[float, float],
    wide: tuple[float, float],
    abscissa: np.ndarray,
) -> tuple[str, str]:
  """The word for an exponent's interval.

  Args:
    interval: (low, high) at 95 %.
    wide: (low, high) at 99 %.
    abscissa: [lengths], for the exponent of n log n.

  Returns:
    (verdict, reason); the reason is empty unless inconclusive.
  """
  low, high = interval
  span = f"[{low:.2f}, {high:.2f}]"
  if high - low > WIDEST:
    return INCONCLUSIVE, f"the interval {span} is wider than {WIDEST}"
  table = words(abscissa)
  near = {w for w, e in table.items() if _inside(e, interval, NEAR)}
  possible = {w for w, e in table.items() if _inside(e, wide, 0.0)} | near
  if not possible:
    word = _between(wide)
    reason = "" if word else f"the interval {span} holds no known exponent"
    return word or INCONCLUSIVE, reason
  named = sorted(possible, key=table.__getitem__)
  if len(named) > 1:
    return INCONCLUSIVE, f"the interval admits {' and '.join(named)}"
  if named[0] not in near:
    return INCONCLUSIVE, f"the interval {span} just misses {named[0]}"
  return named[0], ""
