"""Which trained heads could be linear: errors of what stands in for softmax.

Each stand-in computes attention of the queries, keys and values that a trained
model has for a text; an error is of all tokens of a head,

    |stand-in - softmax| / |softmax|, Frobenius norms.                      (1)
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import catalogue
from lalm.attention import softmax
from lalm.measure import approximations
from lalm.models import captured

BUDGETS = (16, 64, 256)  # features, projected keys, landmarks
# Katharopoulos et al. 2020, and Arora et al. 2024, whose features are fixed.
_FIXED = ("linear", "based")
NAMES = ("linformer", "nystromformer", "performer", *_FIXED)
_DIGITS = 4


def may_be_causal(name: str) -> bool:
  """Returns whether a name's work may be of a causal model."""
  own = name in NAMES and name not in _FIXED
  return not own or approximations.get(name).causal


def report(
    name: str, found: captured.Captured, causal: bool, key: jax.Array
) -> dict[str, Any]:
  """Returns errors by budget, `[layers][heads]`; one budget of fixed features.

  Args:
    name: of `NAMES`.
    found: of a model and a text.
    causal: whether it is; not with each, see `may_be_causal`.
    key: a `jax.random.key`, for random features.
  """
  errors: dict[str, Any] = {}
  if name in _FIXED:
    form = catalogue.get(name).forms["chunkwise"]
    errors["fixed"] = _errors(form, found, causal, {})
    return {"errors": errors}
  own = approximations.get(name)
  T = found.q.shape[2]
  for budget in BUDGETS:
    if budget > T:
      continue
    given = own.drawn(key, found.k[0], budget) | own.sizes(budget)
    errors[str(budget)] = _errors(own.form, found, causal, given)
  return {"errors": errors}


def _errors(
    form: Any, found: captured.Captured, causal: bool, given: dict[str, Any]
) -> list[list[float]]:
  rows = []
  for q, k, v in zip(found.q, found.k, found.v, strict=True):
    exact = softmax.blockwise(q, k, v, causal=causal).out
    near = form(q, k, v, causal=causal, **given).out
    size = lambda x: jnp.sqrt(jnp.sum(x * x, axis=(0, 1, 3)))
    rows.append(np.asarray(size(near - exact) / size(exact)))
  return [[float(f"{x:.{_DIGITS}g}") for x in row] for row in rows]
