"""Noise of a sweep: its centre, and intervals from whole workers.

A replicate is a worker process.  Its log-times are read as a two-way table

    log y[w, i] = centre[i] + common[w] + residual[w, i],           (1)

a factor common to the worker (its share of the machine) and a residual at
each length, in the manner of Tukey's median polish.  The common factor
moves a whole curve up or down and says nothing about its shape, so the laws
are fitted to workers from which it has been removed.

Every interval here is the wider of two:

* pooled: Student's t on the residuals of all lengths together, (W-1)(m-1)
  degrees of freedom.  Right when the residuals of a worker are independent.
* bootstrap: whole workers are drawn again with replacement.  Right also when
  the errors of one worker hang together from length to length.

Up to `EXHAUSTIVE` workers every possible bootstrap sample is enumerated with
its probability, so nothing is random; beyond that the draws are seeded.

References:
  Tukey, Exploratory Data Analysis, 1977.
  Davison and Hinkley, Bootstrap Methods and their Application, 1997.
"""

import dataclasses
import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
# Squared relative error below which data count as free of noise.
EXACT = 1e-18
# Six workers have 462 distinct bootstrap samples, seven have 1716.
EXHAUSTIVE = 6
DRAWS = 400
# Standard deviations beyond which a residual is a disturbance, not noise.
TAME = 3.0
# Relative noise of a timing; it says at what size a floor starts to matter.
TYPICAL = 0.03


class Resamples(NamedTuple):
  """Medians of bootstrap samples of whole workers.

  Attributes:
    plain: medians of the values as measured, [draws, lengths].
    shape: medians after removal of the common factors, [draws, lengths].
    weight: probability of each draw, [draws], sums to 1.
  """

  plain: np.ndarray
  shape: np.ndarray
  weight: np.ndarray


@dataclasses.dataclass(frozen=True)
class Sample:
  """One quantity of one kernel: its centre and its noise.

  Attributes:
    plain: median over workers as measured, [lengths].
    shape: the same after removal of the common factors, [lengths].
    scale: unit in which the residuals are alike, [lengths].
    variance: variance of one entry of `shape` in squared units of `scale`;
      None where fewer than two workers can be compared.
    freedom: degrees of freedom of `variance`.
    common: variance of the common factor of `plain`, same units.
    workers: how many workers gave a value.
    resamples: the bootstrap; None without a variance and for exact values.
    relative: whether the noise is a factor, so that logs are symmetric.
  """

  plain: np.ndarray
  shape: np.ndarray
  scale: np.ndarray
  variance: float | None
  freedom: float
  common: float
  workers: int
  resamples: Resamples | None
  relative: bool = True


def median_variance(count: np.ndarray | int) -> np.ndarray:
  """Variance of the median of `count` normal values of unit variance.

  Args:
    count: sample size, at least 1.

  Returns:
    pi / 2 / (count + correction), within 3 % of the exact value.
  """
  count = np.asarray(count, float)
  correction = np.where(count % 2 == 1, 0.571, 1.142)
  return np.where(count == 1, 1.0, np.pi / 2 / (count + correction))


def common_factors(logs: np.ndarray) -> np.ndarray:
  """Common factor of each worker in (1).

  The median log ratio of two workers over their lengths estimates the ratio
  of their factors; a worker's factor is the mean of those to all others.
  Scaling a worker scales its factor and leaves the aligned shape as it is.

  Args:
    logs: log values, [workers, lengths], NaN where missing; no empty row.

  Returns:
    Log factors, [workers], with median zero.
  """
  ratios = logs[:, None] - logs[None]
  shared = np.isfinite(ratios).any(axis=-1)
  ratios = np.nanmedian(np.where(shared[..., None], ratios, 0.0), axis=-1)
  common = ratios.sum(axis=1) / shared.sum(axis=1)
  return common - np.median(common)


def draws(workers: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Bootstrap samples of whole workers.

  Args:
    workers: how many there are.
    seed: of the random draws, used beyond `EXHAUSTIVE` workers only.

  Returns:
    index [draws, workers] and the probability of each draw, [draws].
  """
  if workers > EXHAUSTIVE:
    generator = np.random.default_rng(seed)
    index = generator.integers(workers, size=(DRAWS, workers))
    return index, np.full(DRAWS, 1 / DRAWS)
  index = np.array(
      list(itertools.combinations_with_replacement(range(workers), workers))
  )
  ways = [
      math.factorial(workers)
      / math.prod(math.factorial(k) for k in np.bincount(row))
      for row in index
  ]
  return index, np.array(ways) / workers**workers


def resample(plain: np.ndarray, aligned: np.ndarray) -> Resamples:
  """Medians of every bootstrap sample that has a value at every length.

  Args:
    plain: values, [workers, lengths], NaN where missing.
    aligned: the same without common factors.

  Returns:
    The medians and their probabilities.
  """
  index, weight = draws(len(plain))
  whole = np.isfinite(plain)[index].any(axis=1).all(axis=1)
  index, weight = index[whole], weight[whole]
  return Resamples(
      np.nanmedian(plain[index], axis=1),
      np.nanmedian(aligned[index], axis=1),
      weight / weight.sum(),
  )


def sample(
    values: np.ndarray, floor: float = 0.0, exact: bool = False
) -> Sample:
  """Centre and noise of the values of several workers.

  Args:
    values: [workers, lengths], NaN where missing; no empty row or column;
      positive unless `floor` is.
    floor: additive noise expected whatever the size, in the unit of the
      values (memory: about 20 MiB).  With a floor, values are weighted by
      their size plus floor and no common factor is removed, since what
      workers share is then an addend.
    exact: the values are counted, not measured: workers that agree, or a
      worker alone, have no noise.

  Returns:
    The sample, independent of the order of the workers.

  Raises:
    ValueError: `values` is not a table, or has an empty row or column.
  """
  values = np.asarray(values, float)
  good = np.isfinite(values)
  if values.ndim != 2 or not (good.any(0).all() and good.any(1).all()):
    raise ValueError(
        "values: expected [workers, lengths] without an empty row or column,"
        f" got shape {values.shape} with {good.sum()} finite entries"
    )
  # Sums are taken in the order of the rows, so the order must not matter.
  values = values[np.lexsort(np.nan_to_num(values, nan=-1.0).T)]
  workers, lengths = values.shape
  factor = np.ones((workers, 1))
  if not floor:
    factor = np.exp(common_factors(np.log(values)))[:, None]
  aligned = values / factor
  plain = np.nanmedian(values, axis=0)
  shape = np.nanmedian(aligned, axis=0)
  count = np.isfinite(values).sum(axis=0)
  unit = np.hypot(shape, floor / TYPICAL)
  spread = np.sqrt(median_variance(count) / median_variance(workers))
  known = plain, shape, unit * spread
  if exact and (np.isnan(values) | (values == plain)).all():
    return Sample(*known, 0.0, math.inf, 0.0, workers, None)
  freedom = count.sum() - lengths - (0 if floor else workers - 1)
  if workers < 2 or freedom < 1:
    return Sample(*known, None, math.inf, 0.0, workers, None)
  off, aligned = _residuals(aligned, shape, unit if floor else None)
  common = 0.0 if floor else np.var(np.log(factor), ddof=1)
  return Sample(
      *known,
      float(median_variance(workers) * np.nansum(off**2) / freedom),
      float(freedom),
      float(median_variance(workers) * common),
      workers,
      resample(aligned * factor, aligned),
      relative=not floor,
  )


def _residuals(
    aligned: np.ndarray, shape: np.ndarray, unit: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
  """Tamed residuals, in `unit` or as log ratios, and the values they make."""
  if unit is None:
    off = _tamed(np.log(aligned / shape))
    return off, shape * np.exp(off)
  off = _tamed((aligned - shape) / unit)
  return off, shape + off * unit


def _tamed(residuals: np.ndarray) -> np.ndarray:
  """Residuals, those beyond `TAME` standard deviations cut to that.

  The median is not moved by a worker that was disturbed once; its variance
  should not be either.  The residual of the median itself is zero by
  construction and says nothing about the spread.
  """
  size = np.abs(residuals[np.isfinite(residuals) & (residuals != 0)])
  if len(size) == 0:
    return residuals
  # The median of |z| is 0.6745 for a standard normal z.
  limit = TAME * float(np.median(size)) / 0.6745
  return np.clip(residuals, -limit, limit)


def quantile(values: np.ndarray, weight: np.ndarray, level: float) -> float:
  """Smallest value whose cumulative weight reaches `level`.

  Args:
    values: [draws].
    weight: [draws], sums to 1.
    level: between 0 and 1.

  Returns:
    The weighted quantile.
  """
  order = np.argsort(values, kind="stable")
  # Sums of probabilities miss the level by rounding alone.
  place = int(np.searchsorted(np.cumsum(weight[order]), level - 1e-9))
  return float(values[order][min(place, len(values) - 1)])


def student(freedom: float, level: float = LEVEL) -> float:
  """Two-sided quantile of Student's t."""
  return float(stats.t.ppf(0.5 + level / 2, freedom))


def band(data: Sample) -> np.ndarray | None:
  """Half-widths of the intervals of the plain centre, [lengths].

  Args:
    data: the sample.

  Returns:
    Half-widths in the unit of the values; None without a variance.
  """
  if data.variance is None:
    return None
  if data.resamples is None:
    return np.zeros(len(data.plain))
  pooled = math.sqrt(
      student(data.freedom) ** 2 * data.variance
      + student(data.workers - 1) ** 2 * data.common
  )
  drawn, centre, scale = data.resamples.plain, data.plain, data.scale
  off = np.abs(drawn - centre)
  if data.relative:
    off = np.abs(np.log(drawn / centre)) * centre
    scale = data.scale * centre / data.shape
  weight = data.resamples.weight
  tails = [quantile(column, weight, LEVEL) for column in off.T]
  return np.maximum(pooled * scale, tails)


class Slope(NamedTuple):
  """Local slope d log(value) / d log(abscissa) between two lengths.

  Attributes:
    low: the lower length.
    high: the upper length.
    slope: the exponent between them.
    interval: (low, high); None without a variance.
  """

  low: float
  high: float
  slope: float
  interval: tuple[float, float] | None


def slopes(
    lengths: np.ndarray, abscissa: np.ndarray, data: Sample
) -> list[Slope]:
  """Local slopes between neighbouring lengths, with intervals.

  Args:
    lengths: [lengths], increasing; names the ends.
    abscissa: what the slope is taken against, [lengths], increasing.
    data: the sample.

  Returns:
    One slope per pair of neighbours with positive centres.
  """
  result = []
  for i in range(len(lengths) - 1):
    pair = data.shape[i : i + 2]
    if (pair > 0).all():
      step = math.log(abscissa[i + 1] / abscissa[i])
      slope = math.log(pair[1] / pair[0]) / step
      half = _half_difference(data, i)
      interval = None
      if half is not None:
        interval = (slope - half / step, slope + half / step)
      ends = float(lengths[i]), float(lengths[i + 1])
      result.append(Slope(*ends, slope, interval))
  return result


def _half_difference(data: Sample, i: int) -> float | None:
  """Half-width of the interval of log(shape[i + 1] / shape[i])."""
  if data.variance is None:
    return None
  if data.resamples is None:
    return 0.0
  pair = data.shape[i : i + 2]
  relative = data.scale[i : i + 2] / pair
  variance = data.variance * float((relative**2).sum())
  drawn = np.maximum(data.resamples.shape[:, i : i + 2] / pair, 1e-300)
  off = np.abs(np.diff(np.log(drawn), axis=1)[:, 0])
  return max(
      student(data.freedom) * math.sqrt(variance),
      quantile(off, data.resamples.weight, LEVEL),
  )
