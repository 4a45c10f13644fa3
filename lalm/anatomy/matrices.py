"""What one matrix of a model says of itself, in numbers of a record."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lalm.anatomy import numbers
from lalm.models.weights import Matrix
from lalm.spectral import condition
from lalm.spectral import marchenko_pastur
from lalm.spectral import norms
from lalm.spectral import power_law
from lalm.spectral import lapack
from lalm.spectral import rank

_DIGITS = 6
_KEPT = 64  # singular values in a record: quantiles of all


def reports(found: Sequence[Matrix], seed: int) -> list[dict[str, Any]]:
  """Returns the reports of matrices, each as of `report`."""
  return lapack.together(lambda m: report(m, seed), found) if found else []


def report(matrix: Matrix, seed: int) -> dict[str, Any]:
  """Returns name, role, shape, norms, ranks, condition and laws of a matrix.

  Args:
    matrix: of a model.
    seed: of the places that entries are put in when traps are looked for.
  """
  found = matrix.values
  values, shape = lapack.singular_values(found), found.shape
  # What is rounding has no law, and no share in a condition.
  values = np.where(values > rank.rounding(shape) * values[0], values, 0)
  own: dict[str, Any] = {
      "frobenius": norms.of_values(values, 2),
      "spectral": values[0],
      "nuclear": norms.of_values(values, 1),
      "numerical_rank": rank.numerical_rank(
          values, rank.rounding(shape, np.float32)
      ),
      "stable_rank": rank.stable_rank(values),
      "effective_rank": rank.effective_rank(values),
      "participation_rank": rank.participation_rank(values),
      "condition": condition.of_values(values),
      **_laws(values, shape),
  }
  if np.ptp(found):
    own["traps"] = marchenko_pastur.traps(found, seed)
  return {
      "name": matrix.name,
      "role": matrix.role,
      "layer": matrix.layer,
      "shape": list(shape),
      **{name: _short(x) for name, x in own.items()},
      "values": [_short(x) for x in values[_some(values.size)]],
  }


def _laws(values: np.ndarray, shape: tuple[int, int]) -> dict[str, Any]:
  """The power law of the greatest, and noise beside which they stand."""
  found: dict[str, Any] = {}
  try:
    law = power_law.fit(values**2)
  except ValueError:  # too few values above 0
    pass
  else:
    found |= {
        "alpha": law.alpha, "alpha_error": law.error, "x_min": law.x_min,
        "distance": law.distance, "tail": law.tail,
    }  # fmt: skip
  try:
    noise = marchenko_pastur.fit(values, shape)
  except ValueError:  # half of the matrix is missing
    return found
  return found | {
      "noise": noise.variance**0.5, "edge": (noise.high * max(shape)) ** 0.5,
      "spikes": noise.spikes, "noise_distance": noise.distance,
  }  # fmt: skip


def _some(size: int) -> np.ndarray:
  """Places of some values, the first and the last among them."""
  return np.unique(np.linspace(0, size - 1, min(size, _KEPT)).astype(int))


def _short(x: Any) -> float | int | None:
  """A number of a record; None of what is infinite."""
  if isinstance(x, (int, np.integer)):
    return int(x)
  return numbers.short(x, _DIGITS)
