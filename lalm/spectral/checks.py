"""What a function of matrices is given, or an error that says what came."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def matrices(name: str, x: Any, *, square: bool = False) -> Any:
  """Returns `[..., M, N]` as float64 or float32, whichever holds the entries.

  NumPy's arrays stay NumPy's, so that float64 does.

  Args:
    name: the argument's, for the message.
    x: real matrices of one shape, none of them empty.
    square: whether M and N are to be equal.

  Raises:
    ValueError: another number of axes, an empty one, complex entries, or such
      that are not finite (of a traced array that is not looked at).
  """
  x = array(name, x, least=2)
  if square and x.shape[-2] != x.shape[-1]:
    raise ValueError(f"{name}: expected [..., N, N], got {x.shape}")
  return x


def array(name: str, x: Any, *, least: int) -> Any:
  """Returns a real array of so many axes or more, as `matrices` does."""
  x = x if isinstance(x, (jax.Array, np.ndarray)) else np.asarray(x)
  axes = ("M", "N")[-least:] if least else ()
  if x.ndim < least or 0 in x.shape:
    wanted = ", ".join(("...", *axes))
    raise ValueError(f"{name}: expected [{wanted}], none empty, got {x.shape}")
  if jnp.issubdtype(x.dtype, np.complexfloating) or x.dtype == object:
    raise ValueError(f"{name}: expected real entries, got {x.dtype}")
  if not jnp.issubdtype(x.dtype, np.floating):
    x = x.astype(float)
  if x.dtype.itemsize < 4:  # no decomposition knows 16 bits
    x = x.astype(np.float32)
  if not isinstance(x, jax.core.Tracer) and not np.isfinite(x).all():
    raise ValueError(f"{name}: expected finite entries, got some that are not")
  return x


def scaled(x: Any) -> tuple[Any, Any]:
  """Returns matrices over their greatest entries, and these, `[..., 1, 1]`.

  Squares then neither overflow nor vanish. Of zeros the greatest is told as 1.

  Args:
    x: `[..., M, N]`.
  """
  xp = jnp if isinstance(x, jax.Array) else np
  greatest = xp.max(xp.abs(x), axis=(-2, -1), keepdims=True)
  greatest = xp.where(greatest > 0, greatest, 1)
  return x / greatest, greatest


def count(name: str, value: Any, most: int) -> int:
  """Returns a whole number from 1 on.

  Raises:
    ValueError: another.
  """
  whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
  if not whole or not 1 <= value <= most:
    raise ValueError(f"{name}: expected 1 to {most}, got {value!r}")
  return int(value)
