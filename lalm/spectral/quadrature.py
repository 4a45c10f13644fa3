"""Traces of functions of a matrix, by Lanczos quadrature.

    tr f(A) = E z^T f(A) z ~ mean over z of |z|^2 sum_j w_j f(theta_j),      (1)

with theta_j the Ritz values of a Krylov space that starts at z, and w_j the
squared first entries of their vectors (Ubaru, Chen and Saad 2017, SIAM J.
Matrix Anal. Appl. 38(4), algorithm 1). The nodes with their weights are the
density of eigenvalues, as far as so many products tell it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lalm.spectral import checks
from lalm.spectral import lanczos


class Density(NamedTuple):
  """Nodes and weights of each probe, `[probes, order]`; weights sum to 1."""

  nodes: jax.Array
  weights: jax.Array


class Estimate(NamedTuple):
  """A trace, and the standard error that the probes tell of it."""

  value: jax.Array
  error: jax.Array


def density(
    operator: Any, key: jax.Array, size: int, order: int, probes: int = 10
) -> Density:
  """Returns the density of a symmetric operator's eigenvalues.

  Args:
    operator: from `[N, 1]` to `[N, 1]`, as of `linear_operators.products`.
    key: a `jax.random.key`.
    size: N.
    order: products a probe.
    probes: random vectors of signs.

  Raises:
    ValueError: an order above N, or a number below 1.
  """
  order = checks.count("order", order, size)
  probes = checks.count("probes", probes, 2**31)

  def one(key: jax.Array) -> Density:
    start = jax.random.rademacher(key, (size, 1), jnp.float32)
    found = lanczos.basis(operator, start, order)
    nodes, vectors = jnp.linalg.eigh(found.quotient)
    return Density(nodes, vectors[0] ** 2)

  return jax.lax.map(one, jax.random.split(key, probes))


def trace(
    found: Density, size: int, function: Callable[[jax.Array], jax.Array]
) -> Estimate:
  """Returns (1).

  Args:
    found: as `density` returns it.
    size: N.
    function: f, of arrays of eigenvalues.
  """
  each = size * jnp.sum(found.weights * function(found.nodes), axis=-1)
  probes = each.shape[0]
  spread = jnp.std(each, ddof=1) if probes > 1 else jnp.nan
  return Estimate(jnp.mean(each), spread / probes**0.5)
