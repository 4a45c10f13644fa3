"""The bounds of the suite: those of the library, by dtype and length."""

import jax

from lalm.measure import tolerances


def forward(dtype: str, length: int) -> float:
  """Relative RMS allowed to values."""
  return tolerances.forward(dtype, length, jax.default_backend())


def backward(dtype: str, length: int) -> float:
  """Relative RMS allowed to first and second derivatives."""
  return tolerances.gradient(dtype, length, jax.default_backend())
