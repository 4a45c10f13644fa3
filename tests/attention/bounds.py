"""The bounds of the suite: those of the library, by dtype and length."""

import math
from typing import Any

import jax

from lalm.measure import tolerances


def forward(dtype: str, length: int) -> float:
  """Relative RMS allowed to values."""
  return tolerances.forward(dtype, length, jax.default_backend())


def values(mechanism: str, form: str, case: Any) -> float:
  """Relative RMS allowed to values of a form, at any length and width.

  Adding n like terms one at a time, as tokens and XLA:CPU's products of one
  row do, is off by u sqrt(n) / 3: 1.3e-6 for 4,097 float32 terms. A full
  output, a mean of all values, is smaller than its terms by about as much
  again. Performer's features are exponentials of numbers of size sqrt(K), which
  have that many times their rounding.
  """
  bound = forward(case.dtype, case.length)
  if form in ("recurrent", "step"):
    bound *= 2 if case.causal else 4
  if mechanism == "performer":
    bound *= max(1.0, math.sqrt(case.width / 64))
  return bound


def backward(dtype: str, length: int) -> float:
  """Relative RMS allowed to first and second derivatives."""
  return tolerances.gradient(dtype, length, jax.default_backend())
