"""Who breaks in 16 bits, and whether that is foreseen.

Of each matrix W with the vectors x that it multiplies in a text: its condition,
that of the Gram matrix of the vectors, and in each dtype the error of W x that
rounding makes, measured and foreseen (`spectral.rounding`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.anatomy import numbers
from lalm.models.weights import Matrix
from lalm.spectral import condition
from lalm.spectral import lapack
from lalm.spectral import rank
from lalm.spectral import rounding

# Roles that share what they multiply.
_SHARED = {"k": "q", "v": "q", "mlp_gate": "mlp_in"}
_DIGITS = 5


def report(
    matrices: Sequence[Matrix], inputs: Mapping[str, jax.Array]
) -> list[dict[str, Any]]:
  """Returns the numbers of each matrix that multiplies what was captured.

  Args:
    matrices: of a model.
    inputs: as `captured.Captured.inputs`, of one text.
  """
  found = []
  for matrix in matrices:
    role = _SHARED.get(matrix.role, matrix.role)
    if matrix.layer is None or role not in inputs:
      continue
    x = inputs[role][matrix.layer]
    found.append(_of(matrix, x.reshape(-1, x.shape[-1])))
  return found


def _of(matrix: Matrix, x: jax.Array) -> dict[str, Any]:
  own = jnp.asarray(matrix.values)
  values = lapack.singular_values(matrix.values)
  vectors = lapack.singular_values(np.asarray(x, np.float64))
  own_numbers: dict[str, Any] = {
      "condition": condition.of_values(values),
      # Of X^T X it is the square of that of X.
      "gram_condition": condition.of_values(vectors) ** 2
      if len(x) >= x.shape[1]
      else None,
      "effective_rank": rank.effective_rank(vectors),
  }
  for dtype in rounding.DTYPES:
    for name in ("foreseen", "measured"):
      each = getattr(rounding, name)(own, x, dtype)
      own_numbers[f"{name} {dtype}"] = jnp.sqrt(jnp.mean(each**2))
  return {
      "name": matrix.name,
      "role": matrix.role,
      "layer": matrix.layer,
      **{name: _short(number) for name, number in own_numbers.items()},
  }


def _short(x: Any) -> Any:
  return numbers.short(x, _DIGITS)
