"""Block Lanczos with full reorthogonalisation, as one scan.

    A Q = Q T + (what is left) E^T,   Q^T Q = I,                            (1)

with Q the blocks of a Krylov space and T the Rayleigh quotient Q^T A Q (Golub
and Underwood 1977). What a Ritz pair (theta, y = Q s) leaves, |A y - theta y|,
is known without a product more. The scan's body is the same for each block, so
that compiling takes as long whatever the order.

Where the space is invariant, what is left is rounding: the next block is any
that is orthogonal to those before, and T falls apart, as it should.
"""

import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jax.tree_util import Partial

from lalm.attention import contract
from lalm.linear_operators.products import matmul
from lalm.spectral import checks


class Basis(NamedTuple):
  """A Krylov space.

  Attributes:
    vectors: Q, `[N, order b]`.
    quotient: T, `[order b, order b]`, symmetric.
    left: what is left of A times the last block, in terms of the block that
      would follow, `[b, b]`.
  """

  vectors: jax.Array
  quotient: jax.Array
  left: jax.Array


class Pairs(NamedTuple):
  """Eigenvalues with vectors, the largest first.

  Attributes:
    values: `[k]`.
    vectors: `[N, k]`.
    residual: |A y - theta y| of each, `[k]`.
    iterations: blocks, each one product with b vectors.
    converged: whether each residual is at most the tolerance times the largest
      absolute value.
  """

  values: jax.Array
  vectors: jax.Array
  residual: jax.Array
  iterations: int
  converged: jax.Array


def basis(operator: Any, start: jax.Array, order: int) -> Basis:
  """Returns (1).

  Args:
    operator: symmetric, from `[N, b]` to `[N, b]`, as of
      `linear_operators.products`.
    start: `[N, b]`, of full rank.
    order: blocks; order times b is at most N.

  Raises:
    ValueError: a start that is not finite or no block, or another order.
  """
  start = jnp.asarray(checks.matrices("start", start))
  if start.ndim != 2:
    raise ValueError(f"start: expected [N, b], got {start.shape}")
  size, width = start.shape
  if width > size:
    raise ValueError(f"start: expected [N, b], b <= N, got {start.shape}")
  if not isinstance(operator, Partial):  # a function of the user's own
    operator = Partial(operator)
  start = start.astype(jax.eval_shape(operator, start).dtype)
  order = checks.count("order", order, size // width)
  return _basis(operator, start, order)


@functools.partial(jax.jit, static_argnames="order")
def _basis(operator: Any, start: jax.Array, order: int) -> Basis:
  size, width = start.shape
  product = functools.partial(
      jnp.einsum, precision=contract.precision(start.dtype)
  )

  def without(x: jax.Array, blocks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """x less its projection on the blocks, and the coefficients of that."""
    # Once is not enough, twice is (Parlett 1998, section 6.9).
    total = jnp.zeros((order, width, width), x.dtype)
    for _ in range(2):
      shares = product("onw,nv->owv", blocks, x)
      x = x - product("onw,owv->nv", blocks, shares)
      total = total + shares
    return x, total

  def body(carry: Any, number: jax.Array) -> tuple[Any, Any]:
    blocks, block = carry
    blocks = blocks.at[number].set(block)
    rest, column = without(operator(block), blocks)
    triangle = jnp.linalg.qr(rest, mode="r")
    # A column that is rounding, once those before it are taken out, would be
    # any direction, even one of those before: it is drawn, others stay whole.
    rounding = size * jnp.finfo(start.dtype).eps * jnp.max(jnp.abs(column))
    nothing = jnp.abs(jnp.diagonal(triangle)) <= rounding
    drawn = jax.random.normal(
        jax.random.fold_in(jax.random.key(0), number), start.shape, start.dtype
    )
    following, _ = checks.scaled(rest)
    following = jnp.where(nothing, drawn / size**0.5, following)
    following, _ = jnp.linalg.qr(without(following, blocks)[0])
    return (blocks, following), (column, matmul(following.T, rest))

  first, _ = jnp.linalg.qr(start)
  blocks = jnp.zeros((order, size, width), start.dtype)
  (blocks, _), (columns, lefts) = lax.scan(
      body, (blocks, first), jnp.arange(order)
  )
  vectors = blocks.transpose(1, 0, 2).reshape(size, order * width)
  # columns[j, i] is Q_i^T A Q_j of the blocks i up to j.
  quotient = columns.transpose(1, 2, 0, 3).reshape(2 * (order * width,))
  quotient = jnp.triu(quotient) + jnp.triu(quotient, 1).T
  return Basis(vectors, quotient, lefts[-1])


def largest(
    operator: Any,
    start: jax.Array,
    order: int,
    count: int = 1,
    *,
    tolerance: float = 1e-5,
) -> Pairs:
  """Returns the largest eigenvalues of a symmetric operator, with vectors.

  Args:
    operator: as of `basis`.
    start: `[N, b]`; b at least the multiplicity of an eigenvalue, for all its
      vectors to be found.
    order: blocks; order times b is at most N and at least the count.
    count: k.
    tolerance: of `Pairs.converged`.

  Raises:
    ValueError: as of `basis`, or another count.
  """
  found = basis(operator, start, order)
  count = checks.count("count", count, found.quotient.shape[0])
  return _pairs(found, count, order, tolerance)


def _pairs(found: Basis, count: int, order: int, tolerance: float) -> Pairs:
  values, own = jnp.linalg.eigh(found.quotient)
  scale = jnp.max(jnp.abs(values))
  values, own = values[::-1][:count], own[:, ::-1][:, :count]
  vectors = matmul(found.vectors, own)
  width = found.left.shape[0]
  # Squares of what is far from 1 would overflow, or vanish.
  left = matmul(found.left / jnp.where(scale > 0, scale, 1), own[-width:])
  residual = scale * jnp.linalg.norm(left, axis=0)
  return Pairs(values, vectors, residual, order, residual <= tolerance * scale)
