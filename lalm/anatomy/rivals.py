"""The same linear algebra by other libraries, as far as they are installed.

None is needed, none is imported before its way is asked for; the extra
`references` has them.
"""

from collections.abc import Callable, Sequence
import contextlib
import importlib.util
import io
import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Error = Callable[[Any], float]


class Way(NamedTuple):
  """One way to do a task.

  Attributes:
    call: does it once.
    error: of what the call returns, relative.
  """

  call: Callable[[], Any]
  error: Error


def _here(*names: str) -> bool:
  return all(importlib.util.find_spec(name) for name in names)


def sklearn_svd(
    matrix: np.ndarray, count: int, seed: int, error: Error
) -> dict[str, Way]:
  """The randomised SVD of scikit-learn, with its own choice of powers."""
  if not _here("sklearn"):
    return {}
  from sklearn.utils import extmath

  def call() -> Any:
    found = extmath.randomized_svd(matrix, count, random_state=seed)
    return found[0], found[1], found[2].T

  return {"scikit-learn, randomised": Way(call, error)}


def cka_of_kernels(x: np.ndarray) -> np.ndarray:
  """Debiased CKA of all pairs, as it is defined: by N x N kernels.

  Args:
    x: `[L, N, D]`.

  Source: Song et al. 2012 (JMLR 13, equation 5).
  """
  n = x.shape[1]
  kernels = x @ x.transpose(0, 2, 1)
  for kernel in kernels:
    np.fill_diagonal(kernel, 0)
  rows = kernels.sum(axis=1)
  sums = rows.sum(axis=1)
  flat = kernels.reshape(len(x), -1)
  hsic = flat @ flat.T + np.outer(sums, sums) / ((n - 1) * (n - 2))
  hsic -= 2 / (n - 2) * rows @ rows.T
  own = np.sqrt(np.diag(hsic))
  return hsic / np.outer(own, own)


def exponent(values: np.ndarray) -> float:
  """The exponent of a power law by its definition, a candidate at a time.

  Args:
    values: `[N]`, above 0.

  Source: Clauset, Shalizi and Newman 2009 (arXiv 0706.1062, equations 3.1 and
  3.9), the distance as WeightWatcher has it.
  """
  x = np.sort(values)
  best = (np.inf, np.nan)
  for i in range(len(x) - 1):
    tail = x[i:]
    alpha = 1 + len(tail) / np.sum(np.log(tail / x[i]))
    law = 1 - (tail / x[i]) ** (1 - alpha)
    steps = np.arange(len(tail)) / len(tail)
    best = min(best, (float(np.max(np.abs(law - steps))), float(alpha)))
  return best[1]


def weightwatcher_fits(
    spectra: Sequence[np.ndarray], error: Error
) -> dict[str, Way]:
  """Exponents by WeightWatcher's own fit."""
  if not _here("weightwatcher", "powerlaw"):
    return {}
  with _quiet():
    from weightwatcher.WW_powerlaw import WWFit

  def call() -> Any:
    return [float(WWFit(x).alpha) for x in spectra]

  return {"weightwatcher": Way(call, error)}


def weightwatcher(
    matrices: Sequence[np.ndarray], error: Error
) -> dict[str, Way]:
  """Exponents by WeightWatcher's whole analysis."""
  if not _here("weightwatcher", "torch"):
    return {}
  with _quiet():
    import torch
    from weightwatcher import WeightWatcher

    layers = []
    for x in matrices:
      layer = torch.nn.Linear(x.shape[1], x.shape[0], bias=False)
      layer.weight.data = torch.tensor(x)
      layers.append(layer)
    watcher = WeightWatcher(model=torch.nn.Sequential(*layers))

  def way(**asked: bool) -> Way:
    def call() -> Any:
      with _quiet():
        return watcher.analyze(**asked).alpha.to_numpy()

    return Way(call, error)

  # Ours tells of noise and of traps too; its own default does not.
  return {
      "weightwatcher": way(),
      "weightwatcher, noise and traps": way(mp_fit=True, randomize=True),
  }


@contextlib.contextmanager
def _quiet() -> Any:
  """Neither its lines nor its log are of interest."""
  logging.disable(logging.WARNING)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    logging.disable(logging.NOTSET)


def traceax(
    matrix: jax.Array, budget: int
) -> dict[str, Callable[[jax.Array], jax.Array]]:
  """Estimates of the trace of a positive semidefinite matrix, from a key."""
  if not _here("traceax", "lineax"):
    return {}
  import lineax
  import traceax as tx

  own = {
      "XTrace": tx.XTraceEstimator(),
      "XNysTrace": tx.XNysTraceEstimator(),
      "Hutch++": tx.HutchPlusPlusEstimator(),
      "Hutchinson": tx.HutchinsonEstimator(),
  }

  def of(estimator: Any) -> Callable[[jax.Array], jax.Array]:
    def estimate(key: jax.Array) -> jax.Array:
      operator = lineax.MatrixLinearOperator(
          matrix, lineax.positive_semidefinite_tag
      )
      found = estimator.estimate(key, operator, budget)
      return jnp.asarray(found[0])

    return estimate

  return {f"traceax, {name}": of(one) for name, one in own.items()}
