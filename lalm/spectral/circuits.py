"""Circuits of heads as products of two thin factors, never a D x D matrix.

    M = L R^T,  L and R `[D, K]`:  QK = W_q^T W_k scores x_t^T M x_s,       (1)
                                   OV = W_o W_v moves M x_s.

(Elhage et al. 2021, A Mathematical Framework for Transformer Circuits.) With
QR of the factors, L = Q_L T_L and R = Q_R T_R, singular values of M are those
of T_L T_R^T, eigenvalues but for zeros those of R^T L, and the symmetric part
has the inertia of a matrix of order 2 K. Leading axes are batched: heads,
layers.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from lalm.linear_operators.products import matmul
from lalm.spectral import checks


class Factored(NamedTuple):
  """L R^T of (1), both `[..., D, K]`."""

  left: jax.Array
  right: jax.Array


def qk(q: jax.Array, k: jax.Array, heads: int) -> Factored:
  """Returns the forms of all heads' scores, `[..., H, D, K]`.

  Args:
    q: W_q, `[..., H K, D]`, as `weights.Matrix` has it.
    k: W_k, `[..., G K, D]` with G dividing H (grouped heads).
    heads: H.

  Raises:
    ValueError: rows that are not of so many heads, or as of `checks.matrices`.
  """
  left = _rows("q", q, heads)
  return Factored(left, _grouped("k", k, left))


def ov(o: jax.Array, v: jax.Array, heads: int) -> Factored:
  """Returns what all heads move, `[..., H, D, K]`.

  Args:
    o: W_o, `[..., D, H K]`.
    v: W_v, `[..., G K, D]` with G dividing H.
    heads: H.

  Raises:
    ValueError: as of `qk`.
  """
  o = jnp.asarray(checks.matrices("o", o))
  left = _rows("o", o.mT, heads)
  return Factored(left, _grouped("v", v, left))


def _rows(name: str, matrix: jax.Array, heads: int) -> jax.Array:
  """`[..., H K, D]` to `[..., H, D, K]`."""
  matrix = jnp.asarray(checks.matrices(name, matrix))
  rows, width = matrix.shape[-2:]
  if heads < 1 or rows % heads:
    raise ValueError(
        f"heads: expected a divisor of {rows} ({name}), got {heads}"
    )
  parts = matrix.reshape(*matrix.shape[:-2], heads, rows // heads, width)
  return parts.mT


def _grouped(name: str, matrix: jax.Array, like: jax.Array) -> jax.Array:
  """The rows of fewer heads, each repeated for those that share it."""
  heads, width, size = like.shape[-3:]
  groups = jnp.shape(matrix)[-2] // size
  if not groups or heads % groups or jnp.shape(matrix)[-2] != groups * size:
    raise ValueError(
        f"{name}: expected rows of {size} for each head or group of {heads},"
        f" got {jnp.shape(matrix)[-2]}"
    )
  parts = _rows(name, matrix, groups)
  if parts.shape[-2] != width:
    got = jnp.shape(matrix)
    raise ValueError(f"{name}: expected [..., {width}], got {got}")
  return jnp.repeat(parts, heads // groups, axis=-3)


def values(circuit: Factored) -> jax.Array:
  """Returns singular values, `[..., K]`, the largest first."""
  left, right = (jnp.linalg.qr(x, mode="r") for x in circuit)
  return jnp.linalg.svd(matmul(left, right.mT), compute_uv=False)


def eigenvalues(circuit: Factored) -> jax.Array:
  """Returns eigenvalues but for D - K zeros, complex `[..., K]`."""
  return jnp.linalg.eigvals(matmul(circuit.right.mT, circuit.left))


def form_values(circuit: Factored) -> jax.Array:
  """Returns eigenvalues of (M + M^T) / 2 but for zeros, `[..., 2 K]`.

  Where 2 K is above D they are all D.
  """
  size = circuit.left.shape[-1]
  both = jnp.linalg.qr(jnp.concatenate(circuit, axis=-1), mode="r")
  a, b = both[..., :size], both[..., size:]
  small = matmul(a, b.mT) / 2
  return jnp.linalg.eigvalsh(small + small.mT)


def copying(circuit: Factored) -> jax.Array:
  """Returns sum of eigenvalues over sum of their sizes, from -1 to 1.

  1: a head that adds to a direction what is there; -1: one that takes it away.
  It is 0 of a circuit of zeros.
  """
  found = eigenvalues(scaled(circuit))
  size = jnp.sum(jnp.abs(found), axis=-1)
  return jnp.sum(found.real, axis=-1) / jnp.where(size > 0, size, 1)


def through(circuit: Factored, embedding: jax.Array) -> Factored:
  """Returns the circuit from tokens to tokens, E M E^T, as factors.

  Args:
    circuit: `[..., D, K]`.
    embedding: E, `[V, D]`.
  """
  return Factored(*(matmul(embedding, x) for x in circuit))


def composition(second: Factored, first: Factored) -> jax.Array:
  """Returns |M_2 M_1| / (|M_2| |M_1|), Frobenius norms, from 0 to 1.

  Of OV after OV it tells of values; of QK (or its transpose) after OV, of
  queries on the right (or keys). Circuits of D x D at random have about
  1 / sqrt(D).

  Args:
    second: `[..., D, K]`.
    first: of leading axes that broadcast with those.
  """
  second, first = scaled(second), scaled(first)
  inner = matmul(second.right.mT, first.left)
  a = jnp.linalg.qr(second.left, mode="r")
  b = jnp.linalg.qr(first.right, mode="r")
  both = _size(matmul(matmul(a, inner), b.mT))
  alone = _frobenius(second) * _frobenius(first)
  return both / jnp.where(alone > 0, alone, 1)


def scaled(circuit: Factored) -> Factored:
  """Returns the circuit over its greatest entries: shares stay as they are."""
  return Factored(*(checks.scaled(x)[0] for x in circuit))


def turned(circuit: Factored) -> Factored:
  """Returns M^T."""
  return Factored(circuit.right, circuit.left)


def _frobenius(circuit: Factored) -> jax.Array:
  left, right = (jnp.linalg.qr(x, mode="r") for x in circuit)
  return _size(matmul(left, right.mT))


def _size(x: jax.Array) -> jax.Array:
  return jnp.linalg.norm(x, axis=(-2, -1))
