"""Power laws of the greatest eigenvalues: p(x) ~ x^-alpha from x_min on.

For each x_i as x_min, with n values from it on,

    alpha_i = 1 + n / sum_j log(x_j / x_i)                                  (1)
    D_i = max_j |F_i(x_j) - j / n|,  F_i(x) = 1 - (x / x_i)^(1 - alpha_i)   (2)

and x_min is the one of the least D (Clauset, Shalizi and Newman 2009, arXiv
0706.1062, equations 3.1 and 3.9). An empirical distribution steps at x_j from
j / n to (j + 1) / n: Clauset's D is the farther of both, that of WeightWatcher
(Martin and Mahoney 2021, arXiv 1810.01075) of the lower alone. Everything is in
float64: the least of many D is decided in the last digits.
"""

from typing import Any, NamedTuple

import numpy as np

from lalm.spectral import checks

RULES = ("weightwatcher", "clauset")
_LEAST = 2  # values, for one candidate
_EQUAL = (
    1e-14  # relative: values that differ by less are equal but for rounding
)
_ENTRIES = 2**20  # of a block of candidates times values


class PowerLaw(NamedTuple):
  """A fit, or one a spectrum, `[...]`.

  Attributes:
    alpha: exponent.
    x_min: where the law begins.
    distance: D, of Kolmogorov and Smirnov.
    error: standard error of alpha, (alpha - 1) / sqrt(n).
    tail: n, values from x_min on; of few, alpha tells little.
  """

  alpha: Any
  x_min: Any
  distance: Any
  error: Any
  tail: Any


def fit(values: Any, rule: str = "weightwatcher") -> PowerLaw:
  """Returns the fit of spectra.

  Args:
    values: `[..., N]`, eigenvalues (squares of singular values), in any order;
      such as are not above 0 are left out.
    rule: of `RULES`.

  Raises:
    ValueError: fewer than two values above 0, all equal, such as are not
      finite, or another rule.
  """
  if rule not in RULES:
    raise ValueError(f"rule: expected one of {', '.join(RULES)}, got {rule!r}")
  values = np.asarray(checks.array("values", values, least=1), np.float64)
  flat = values.reshape(-1, values.shape[-1])
  found = [_fit(each, rule == "clauset") for each in flat]
  if values.ndim == 1:
    return found[0]
  fields = (np.reshape(x, values.shape[:-1]) for x in zip(*found, strict=True))
  return PowerLaw(*fields)


def _fit(values: np.ndarray, both: bool) -> PowerLaw:
  x = np.sort(values[values > 0])
  if x.size < _LEAST or x[-1] <= x[0] * (1 + _EQUAL * x.size):
    raise ValueError(
        f"values: expected {_LEAST} or more above 0, not all equal, got"
        f" {x.size}"
    )
  logs = np.log(x)
  count = x.size - np.arange(x.size - 1)
  sums = np.cumsum(logs[::-1])[::-1][:-1] - count * logs[:-1]
  with np.errstate(divide="ignore"):  # equal values to the end have no law
    alphas = 1 + count / np.where(sums > _EQUAL * count, sums, 0)
  distances = _distances(logs, alphas, both)
  best = int(np.argmin(distances))
  tail = int(count[best])
  error = (alphas[best] - 1) / tail**0.5
  return PowerLaw(alphas[best], x[best], distances[best], error, tail)


def _distances(logs: np.ndarray, alphas: np.ndarray, both: bool) -> np.ndarray:
  """(2) of each candidate, some at a time."""
  size = logs.size
  found = np.ones(size - 1)
  rows = max(1, _ENTRIES // size)
  for first in range(0, size - 1, rows):
    at = np.arange(first, min(first + rows, size - 1))
    at = at[np.isfinite(alphas[at])]
    if not at.size:
      continue
    place = np.arange(first, size) - at[:, None]
    logs_here = logs[first:] - logs[at, None]
    law = -np.expm1((1 - alphas[at, None]) * np.maximum(logs_here, 0))
    steps = 1 / (size - at[:, None])
    apart = np.abs(law - place * steps)
    if both:
      apart = np.maximum(apart, np.abs(law - (place + 1) * steps))
    found[at] = np.max(np.where(place >= 0, apart, 0), axis=1)
  return found
