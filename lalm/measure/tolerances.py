"""How far a correct kernel may be from the definition, for each dtype.

Every tolerance is a relative root mean square, || x - y || / || y ||, against
the definition in float64, so it does not tighten or loosen with the number of
values compared. Rounding errors of a sum of n terms are independent and grow
like its square root; the figures hold up to 4,096 tokens and grow from there.

A unit roundoff u is 2^-24 (float32), 2^-11 (float16) and 2^-8 (bfloat16), whose
sums are kept in float32: their inputs, weights and outputs are rounded, each by
u / sqrt(3) in the mean square.
"""

import math

import numpy as np

_FREE_LENGTH = 4096  # tokens
_FORWARD = {
    "float64": 1e-13,
    "float32": 1e-6,  # 17 u
    "float16": 6.25e-4,  # 1.3 u
    "bfloat16": 5e-3,  # 1.3 u
}
# A gradient is a product of products, and its softmax part a difference of
# nearly equal terms.
_GRADIENT = 5
# Central differences of float64 sums agree to about 1e-8.
_DIFFERENCE = 1e-7
# Accelerators multiply float32 in fewer bits unless asked for more:
# TensorFloat-32 keeps 10 bits of the fraction, bfloat16 passes keep 7.
_PRODUCT_DTYPE = {"gpu": "float16", "tpu": "bfloat16"}
# This library's forms ask for more (`contract.precision`): what is left is that
# exponentials and the order of sums are not those of a CPU.
_ELSEWHERE = 4


def forward(
    dtype: str, length: int, device: str = "cpu", *, ours: bool = False
) -> float:
  """Relative RMS a value may be off.

  Args:
    dtype: of the inputs: float64, float32, float16 or bfloat16.
    length: tokens summed over.
    device: `jax.default_backend()`.
    ours: whether a form is this library's, which multiplies float32 in full on
      every device; else the device's default precision of products counts.

  Raises:
    ValueError: no tolerance is known for this dtype.
  """
  name = np.dtype(dtype).name if dtype != "bfloat16" else dtype
  if name not in _FORWARD:
    known = ", ".join(_FORWARD)
    raise ValueError(f"dtype: expected one of {known}, got {dtype!r}")
  base = _FORWARD[name]
  if name == "float32" and device in _PRODUCT_DTYPE:
    base = _ELSEWHERE * base if ours else _FORWARD[_PRODUCT_DTYPE[device]]
  return base * math.sqrt(max(length / _FREE_LENGTH, 1.0))


def gradient(
    dtype: str, length: int, device: str = "cpu", *, ours: bool = False
) -> float:
  """Relative RMS a gradient may be off; arguments and errors of `forward`."""
  return _GRADIENT * forward(dtype, length, device, ours=ours)


def directional(
    dtype: str, length: int, device: str = "cpu", *, ours: bool = False
) -> float:
  """Relative RMS a directional derivative may be off a central difference."""
  return max(gradient(dtype, length, device, ours=ours), _DIFFERENCE)
