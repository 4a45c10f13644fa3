"""Numbers as records keep them."""

from typing import Any

import numpy as np


def short(x: Any, digits: int) -> Any:
  """Returns a number or lists of them, None of what is not there or not finite.

  Args:
    x: a number, an array, or None.
    digits: that stay.
  """
  if x is None:
    return None
  if np.ndim(x):
    return [short(y, digits) for y in np.asarray(x)]
  return float(f"{float(x):.{digits}g}") if np.isfinite(x) else None
