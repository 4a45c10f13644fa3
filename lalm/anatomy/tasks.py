"""Linear algebra of a model's weights, in this library's way and in others'.

A task is done in several ways, the first of which is ours. Each way is a call
that is timed, and an error of what it returns against float64: what is fast and
wrong is no answer.
"""

from collections.abc import Callable
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm.anatomy import matrices
from lalm.anatomy import rivals
from lalm.anatomy import subject
from lalm.linear_operators import products
from lalm.models import weights
from lalm.spectral import condition
from lalm.spectral import lapack
from lalm.spectral import power_law
from lalm.spectral import rank
from lalm.spectral import similarity
from lalm.spectral import singular
from lalm.spectral import trace

OURS = "lalm"
_LARGEST = 64  # singular values wanted of an embedding
_PRODUCTS = 30  # with a matrix and its inverse, to estimate its condition
# The case of traceax's documentation: eigenvalues 0.7^i, 25 products.
_SIZE, _DECAY, _BUDGET = 1000, 0.7, 25
_DRAWS = 100  # of probes, of which the error of a trace is told
Way = rivals.Way
Ways = dict[str, Way]


class Task(NamedTuple):
  """What is computed.

  Attributes:
    ways: from a model's file and a seed to ways, ours the first.
    bound: error above which our way is wrong.
    meaning: in a few words.
  """

  ways: Callable[[pathlib.Path, int], Ways]
  bound: float
  meaning: str


def _of_layers(path: pathlib.Path) -> list[np.ndarray]:
  found = weights.read(path).matrices
  return [m.values for m in found if m.layer is not None]


def _by_shape(found: list[np.ndarray]) -> list[np.ndarray]:
  """Stacks `[count, M, N]` of matrices of one shape, M >= N."""
  stacks: dict[tuple[int, ...], list[np.ndarray]] = {}
  for x in found:
    x = x if x.shape[0] >= x.shape[1] else x.T
    stacks.setdefault(x.shape, []).append(x)
  return [np.stack(own) for own in stacks.values()]


def _exact(stacks: list[np.ndarray]) -> list[np.ndarray]:
  """Singular values in float64."""
  wide = (x.astype(np.float64) for x in stacks)
  return [np.linalg.svd(x, compute_uv=False) for x in wide]


def _ranks(path: pathlib.Path, seed: int) -> Ways:
  """Singular values of all matrices, with what follows from them."""
  del seed
  stacks = _by_shape(_of_layers(path))
  known = _exact(stacks)
  follows = (
      rank.numerical_rank, rank.effective_rank, rank.stable_rank,
      rank.participation_rank, condition.of_values,
  )  # fmt: skip

  def all_of(values: Any) -> Any:
    return values, [f(values) for f in follows]

  ours = lambda x: all_of(lapack.singular_values(x))
  compiled = jax.jit(lambda x: all_of(singular.values(x)))
  theirs = lambda x: all_of(np.linalg.svd(x, compute_uv=False))
  arrays = [jnp.asarray(x) for x in stacks]

  def error(found: Any) -> float:
    apart = (
        np.max(np.abs(x - y) / y[:, :1])
        for (x, _), y in zip(found, known, strict=True)
    )
    return float(max(apart))

  return {
      OURS: Way(lambda: [ours(x) for x in stacks], error),
      "lalm, compiled": Way(lambda: [compiled(x) for x in arrays], error),
      "numpy": Way(lambda: [theirs(x) for x in stacks], error),
  }


def _largest(path: pathlib.Path, seed: int) -> Ways:
  """The largest singular values of the embedding, with vectors."""
  table = weights.read(path).of("embedding")
  count = min(_LARGEST, *table.shape)
  _, known, right = np.linalg.svd(table.astype(np.float64), full_matrices=False)
  array = jnp.asarray(table)
  key = jax.random.key(seed)
  full = jax.jit(lambda x: jnp.linalg.svd(x, full_matrices=False))

  def error(found: Any) -> float:
    """Of values, and of the space that their vectors span."""
    values, vectors = np.asarray(found[1]), np.asarray(found[2], np.float64)
    apart = np.max(np.abs(values[:count] - known[:count]) / known[:count])
    # How much of what the best approximation keeps is lost: spaces of values
    # that are nearly equal are any.
    kept = np.sum((known[:, None] * (right @ vectors[:, :count])) ** 2)
    best = np.sum(known[:count] ** 2)
    return float(max(apart, (best - kept) / best))

  turned = lambda found: (found[0], found[1], found[2].T)
  ways = {
      OURS: Way(lambda: singular.tall(array, count), error),
      "lalm, randomised": Way(
          lambda: singular.randomised(array, key, count, powers=4), error
      ),
      "jax, all": Way(lambda: turned(full(array)), error),
      "numpy, all": Way(
          lambda: turned(np.linalg.svd(table, full_matrices=False)), error
      ),
  }
  return ways | rivals.sklearn_svd(table, count, seed, error)


def _conditions(path: pathlib.Path, seed: int) -> Ways:
  """Conditions of all square matrices."""
  stacks = [x for x in _by_shape(_of_layers(path)) if x.shape[1] == x.shape[2]]
  known = [condition.of_values(x) for x in _exact(stacks)]
  arrays = [jnp.asarray(x) for x in stacks]
  key = jax.random.key(seed)

  @jax.jit
  def estimate(stack: jax.Array) -> jax.Array:
    one = lambda x: condition.by_products(
        products.gram(x), products.inverse_gram(x), key, len(x), _PRODUCTS
    ).value
    return jax.lax.map(one, stack)

  def error(found: Any) -> float:
    pairs = zip(found, known, strict=True)
    return float(max(np.max(np.abs(x / y - 1)) for x, y in pairs))

  return {
      OURS: Way(lambda: [estimate(x) for x in arrays], error),
      "lalm, all values": Way(
          lambda: [condition.exact(x) for x in arrays], error
      ),
      "numpy": Way(lambda: [np.linalg.cond(x) for x in stacks], error),
  }


def _layers(path: pathlib.Path, seed: int) -> Ways:
  """Debiased CKA of all pairs of layers, of 2,048 tokens."""
  found = subject.read(path, "", 8, 256, seed).capture().hidden
  hidden = found.reshape(len(found), -1, found.shape[-1])
  wide = np.asarray(hidden, np.float64)
  known = rivals.cka_of_kernels(wide)
  error = lambda x: float(np.max(np.abs(np.asarray(x) - known)))
  return {
      OURS: Way(lambda: similarity.cka(hidden, hidden), error),
      "numpy, by definition": Way(lambda: rivals.cka_of_kernels(wide), error),
  }


def _power_laws(path: pathlib.Path, seed: int) -> Ways:
  """Power laws of all spectra, values known."""
  del seed
  spectra = [y**2 for x in _exact(_by_shape(_of_layers(path))) for y in x]
  fits = [rivals.exponent(x) for x in spectra]

  def error(found: Any) -> float:
    return max(abs(x / y - 1) for x, y in zip(found, fits, strict=True))

  ours = lambda: [power_law.fit(x).alpha for x in spectra]
  return {OURS: Way(ours, error)} | rivals.weightwatcher_fits(spectra, error)


def _report(path: pathlib.Path, seed: int) -> Ways:
  """All that `weight_spectrum` says of all matrices."""
  found = weights.read(path).matrices
  own = [m for m in found if m.layer is not None]
  exact = _exact([m.values for m in own])
  mean = float(np.mean([rivals.exponent(x**2) for x in exact]))

  def error(found: Any) -> float:
    return abs(float(np.mean(found)) / mean - 1)

  ours = lambda: [m["alpha"] for m in matrices.reports(own, seed)]
  return {OURS: Way(ours, error)} | rivals.weightwatcher(
      [m.values for m in own], error
  )


def _traces(path: pathlib.Path, seed: int) -> Ways:
  """Traces of a matrix of eigenvalues 0.7^i by 25 products."""
  del path
  values = _DECAY ** np.arange(_SIZE)
  # Of a diagonal matrix signs would find the trace at once.
  turned = np.random.default_rng(seed).normal(size=(_SIZE, _SIZE))
  basis, _ = np.linalg.qr(turned)
  matrix = jnp.asarray(basis * values @ basis.T, jnp.float32)
  operator = products.dense(matrix)
  known = (1 - _DECAY**_SIZE) / (1 - _DECAY)
  keys = jax.random.split(jax.random.key(seed), _DRAWS)

  def way(estimate: Callable[[jax.Array], jax.Array]) -> Way:
    one = jax.jit(estimate)

    def error(found: Any) -> float:
      del found  # of one draw
      each = np.asarray([one(key) for key in keys], np.float64)
      return float(np.sqrt(np.mean((each / known - 1) ** 2)))

    return Way(lambda: one(keys[0]), error)

  def ours(estimator: Any) -> Way:
    return way(lambda key: estimator(operator, key, _SIZE, _BUDGET).value)

  found = {
      OURS: ours(trace.xtrace),
      "lalm, Nystrom": ours(trace.xnystrace),
      "lalm, Hutch++": ours(trace.hutch_plus_plus),
      "lalm, Hutchinson": ours(trace.hutchinson),
  }
  others = rivals.traceax(matrix, _BUDGET)
  return found | {name: way(estimate) for name, estimate in others.items()}


TASKS = {
    "ranks": Task(_ranks, 1e-5, "values, ranks, condition of every matrix"),
    "largest": Task(_largest, 1e-4, "the 64 largest of the embedding"),
    "conditions": Task(
        _conditions, 0.05, "condition of square ones, 30 products"
    ),
    "layers": Task(_layers, 1e-4, "CKA of all pairs of layers"),
    "power_laws": Task(_power_laws, 1e-10, "power laws of all spectra"),
    "report": Task(_report, 1e-6, "the whole report of all matrices"),
    "traces": Task(_traces, 0.03, "a trace of 0.7^i by 25 products"),
}
