"""The law of a quantity in the sequence length.

**What an exponent means.**  The truth behind `Law.exponent` is the exponent
of the *leading term* of

    y(n) = a + b n + c g(n),    a, b, c >= 0,                             (1)

with g a power of n or n log n, and leading meaning that at the largest length
measured g makes at least half of what grows, c g >= b n.  The exponent of
n^k is k; that of n log n is the least-squares slope of log(n log n) against
log(n) over the lengths measured (1.14 for 256 to 8192).  The offset and the
linear term are removed as far as the data support them: the estimate is the
mean over the laws (1) by their Akaike weights, and the law of the largest
weight is the one that is stated.  The interval trusts no weights and holds
every exponent for which some law (1) is within reach (see `inversion`).

**Constants.**  When a pure power fits and its exponent may be zero or is
negligible, nothing grows that could have a leading term: the exponent of the
pure power is the answer.

**Closed forms.**  Given `counts`, lengths are replaced by *equivalent
lengths*, n_max (count / count_max)^(1/k) with k the order of the count (its
local slope at the top, rounded).  Time exactly proportional to the count then
has exponent k: 2 for causal softmax, whose local slope in n is only 1.8 to
1.9 at small n because exact causal block work is n^2/2 plus a multiple of n.
A count that is n log n and a multiple of n, as of a hierarchy of chunks, has
equivalent lengths m with m log m in proportion to it.
"""

import dataclasses

import numpy as np

from lalm.scaling import cone, fits, intervals, inversion, verdicts

_ROUNDING = 1e-6  # exponents this small are zero: the search ends at 1e-9


@dataclasses.dataclass(frozen=True)
class Law:
  """A quantity as a law in the sequence length.

  Attributes:
    exponent: of the leading term, averaged; None below two lengths.
    interval: (low, high) at 95 %; None where there is no noise to judge by.
    terms: non-negative least squares on 1, n, n log n, n^2 of the length
      itself, so that the law can be drawn.
    offset: a of the stated law (1), in the unit of the values.
    linear: b of (1), per unit of the abscissa.
    coefficient: c of (1), for n^power or n log n.
    power: exponent of the fitted power; None where g is n log n.
    verdict: a word of `verdicts`, or "inconclusive".
    reason: why it is inconclusive, else "".
    against: "n" or "closed form".
    abscissa: lengths or equivalent lengths, [lengths].
    slopes: local slopes.
  """

  exponent: float | None
  interval: tuple[float, float] | None
  terms: fits.Terms | None
  offset: float | None
  linear: float | None
  coefficient: float | None
  power: float | None
  verdict: str
  reason: str
  against: str
  abscissa: np.ndarray
  slopes: list[intervals.Slope]


def _check(lengths: np.ndarray, data: intervals.Sample) -> None:
  """Raises ValueError unless lengths are increasing and match the sample."""
  if lengths.shape != data.shape.shape or not (
      (lengths > 0).all() and (np.diff(lengths) > 0).all()
  ):
    raise ValueError(
        f"lengths: expected {len(data.shape)} positive, increasing lengths, got"
        f" {lengths.tolist()}"
    )


def _exponent(
    problem: cone.Problem, data: intervals.Sample, negligible: float
) -> tuple[inversion.Family, tuple[float, float] | None, tuple | None]:
  """The law in use and its exponent's intervals at 95 % and at 99 %."""
  parts = problem, data.shape, data.variance
  negligible = max(negligible, _ROUNDING)
  full = inversion.family(*parts, cone.subsets(problem))
  pure = inversion.family(*parts, cone.PURE)
  if data.variance is None:
    flat = abs(pure.exponent) <= negligible
    return (pure if flat else full), None, None
  rises = inversion.critical(pure, data)
  inner, wide = (inversion.invert(pure, rise) for rise in rises)
  within = -negligible <= inner[0] and inner[1] <= negligible
  fitting = inversion.misfit(pure, data) is None
  if within or (fitting and wide[0] <= 0 <= wide[1]):
    return pure, inner, wide
  rises = inversion.critical(full, data)
  inner, wide = (inversion.invert(full, rise) for rise in rises)
  return full, inner, wide


def fit(
    lengths: np.ndarray,
    data: intervals.Sample,
    *,
    counts: np.ndarray | None = None,
    overhead: bool = True,
    negligible: float = 0.02,
) -> Law:
  """Fits the law of a sample.

  Args:
    lengths: [lengths], increasing, positive.
    data: centre and noise, from `intervals.sample`.
    counts: closed-form operations at each length; when given, the law is
      against equivalent lengths.
    overhead: whether an offset, however large, is set aside before asking
      what leads.  False for a quantity whose offset is its substance, such as
      compile time: then a leading term makes half of the whole.
    negligible: exponents up to this size are no growth.

  Returns:
    The law.

  Raises:
    ValueError: lengths or counts are not increasing or do not match.
  """
  lengths = np.asarray(lengths, float)
  _check(lengths, data)
  against, abscissa = "n", lengths
  if counts is not None:
    against = "closed form"
    abscissa = fits.equivalent_lengths(lengths, counts)
  slopes = intervals.slopes(lengths, abscissa, data)
  if len(lengths) < 2:
    reason = "one length"
    nothing = (None,) * 7
    word = verdicts.INCONCLUSIVE
    return Law(*nothing, word, reason, against, abscissa, slopes)
  problem = cone.Problem(
      abscissa / abscissa[-1], np.log(abscissa), data.scale, overhead
  )
  laws, inner, wide = _exponent(problem, data, negligible)
  verdict, reason = verdicts.INCONCLUSIVE, ""
  if len(lengths) < 3:
    reason, inner = "two lengths cannot tell an offset from a slope", None
  elif inner is None or wide is None:
    reason = "one worker: no noise to judge by"
  else:
    verdict, reason = verdicts.decide(inner, wide, abscissa)
  return Law(
      laws.exponent,
      inner,
      fits.fit_terms(lengths, data.shape, data.scale),
      *_stated(laws, float(abscissa[-1])),
      verdict,
      reason,
      against,
      abscissa,
      slopes,
  )


def _stated(
    laws: inversion.Family, top: float
) -> tuple[float, float, float, float | None]:
  """Offset, linear and leading coefficient, power of the law of most weight."""
  offset, linear, leading = fits.coefficients(
      laws.problem, laws.chosen, laws.target
  )
  power = laws.chosen.power
  unit = top * np.log(top) if power is None else top**power
  return offset, linear / top, float(leading / unit), power
