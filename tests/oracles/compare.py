"""How two arrays are compared everywhere in the tests.

The measure is the relative root mean square difference; the bounds are the
library's own, from `lalm.measure.tolerances`.
"""

import numpy as np
from numpy.typing import ArrayLike


def relative_rms(got: ArrayLike, expected: ArrayLike) -> float:
  """sqrt(sum |got - expected|^2 / sum |expected|^2); 0 / 0 is 0."""
  got = np.asarray(got, np.float64)
  expected = np.asarray(expected, np.float64)
  if got.shape != expected.shape:
    raise ValueError(f"shape: expected {expected.shape}, got {got.shape}")
  difference = np.sqrt(np.sum((got - expected) ** 2))
  size = np.sqrt(np.sum(expected**2))
  if difference == 0:
    return 0.0
  return float(difference / size) if size else float("inf")


def assert_close(
    got: ArrayLike, expected: ArrayLike, bound: float, what: str = "values"
) -> None:
  """Fails where the relative RMS difference is above `bound`, or is NaN."""
  error = relative_rms(got, expected)
  assert error <= bound, f"{what}: relative RMS {error:.2e} above {bound:.2e}"
