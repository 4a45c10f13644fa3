"""Products of rows and columns that decay with the distance between them.

With log-decays g_r <= 0 the pairs of a chunk of C tokens are

    P[t, s] = sum_f x[t, f] y[s, f] exp(g[s+1, f] + ... + g[t, f]),  s <= t  (1)

where `strict` leaves the diagonal out, and `before` also the row's own decay
g[t]. Only sums of numbers that are <= 0 are exponentiated, and none is a
difference of two others: decays of -100 do not overflow, and the tokens beside
them lose nothing by cancellation.

Arrays stand in lanes (`lanes`): rows x `[L, R C, F]`, R blocks of C rows one
after the other; columns y `[L, C, F]`; log-decays `[L, C]` or `[L, C, F]`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


class Unit:
  """No decay: g = 0, for any product, `einsum` of some precision."""

  def __init__(self, product: Callable):
    self._product = product

  def start(self, x: jax.Array, before: bool = False) -> jax.Array:
    """Returns rows that decay from the start of the chunk."""
    del before
    return x

  def end(self, y: jax.Array) -> jax.Array:
    """Returns columns that decay to the end of the chunk."""
    return y

  def keep(self) -> Any:
    """Returns what is left of a state after the chunk, `[L, 1, 1]` or None."""
    return None

  def pairs(
      self,
      x: jax.Array,
      y: jax.Array,
      strict: bool = False,
      before: bool = False,
  ) -> jax.Array:
    """Returns (1), `[L, R C, C]`, exactly zero where s > t."""
    s = jnp.arange(y.shape[1])
    t = s[:, None]
    seen = s < t if strict or before else s <= t
    rows = x.shape[1]
    scores = self._product("ltf,lsf->lts", x, y)
    # Masked by choice, for 0 times what a later token overflows to is NaN.
    scores = jnp.where(tile(seen, rows), scores, 0)
    weights = self._weights(before)
    return scores if weights is None else scores * tile(weights, rows)

  def _weights(self, before: bool) -> Any:
    del before


class Scalar(Unit):
  """A log-decay a token, `[L, C]`."""

  def __init__(self, g: jax.Array, product: Callable):
    super().__init__(product)
    self._start, self._between = cumulative(g)

  def start(self, x, before=False):
    sums = self._start[:, :-1] if before else self._start[:, 1:]
    return x * tile(jnp.exp(sums)[..., None], x.shape[1])

  def end(self, y):
    return y * jnp.exp(self._between[:, -1])[..., None]

  def keep(self):
    return jnp.exp(self._start[:, -1])[:, None, None]

  def _weights(self, before):
    return jnp.exp(self._between[:, :-1] if before else self._between[:, 1:])


class Vector:
  """A log-decay a token and feature, `[L, C, F]`.

  Pairs are made in blocks that double: rows of the second half of a block decay
  from its middle on, columns of the first half up to there.
  """

  def __init__(self, g: jax.Array, product: Callable):
    self._product = product
    self._columns = g.shape[1]
    g = _padded(g, 1)[:, :, None]
    # Sums over blocks `[L, N, h, F]` of h = 1, 2, ... tokens: up to a token,
    # up to the one before it, after it.
    sums = (g, jnp.zeros_like(g), jnp.zeros_like(g))
    self._levels = [sums]
    while sums[0].shape[1] > 1:
      sums = _doubled(*sums)
      self._levels.append(sums)

  def start(self, x: jax.Array, before: bool = False) -> jax.Array:
    """Returns rows that decay from the start of the chunk."""
    weights = jnp.exp(self._levels[-1][1 if before else 0][:, 0])
    return x * tile(weights[:, : self._columns], x.shape[1])

  def end(self, y: jax.Array) -> jax.Array:
    """Returns columns that decay to the end of the chunk."""
    return y * jnp.exp(self._levels[-1][2][:, 0, : self._columns])

  def keep(self) -> jax.Array:
    """Returns what is left of a state after the chunk, `[L, F, 1]`."""
    return jnp.exp(self._levels[-1][0][:, 0, -1])[..., None]

  def pairs(
      self,
      x: jax.Array,
      y: jax.Array,
      strict: bool = False,
      before: bool = False,
  ) -> jax.Array:
    """Returns (1), `[L, R C, C]`, exactly zero where s > t."""
    lanes, columns, width = y.shape
    x = _padded(x.reshape(lanes, -1, columns, width), 2)
    y = _padded(y, 1)
    # Blocks `[L, R, N, h, h]` on the diagonal.
    done = jnp.zeros((*x.shape[:3], 1, 1), x.dtype)
    if not (strict or before):
      done = done + (x * y[:, None]).sum(axis=-1)[..., None, None]
    for sums in self._levels[:-1]:
      rows, columns_ = _halves(sums, x, y, before)
      done = _joined(done, self._below(rows, columns_))
    done = done[:, :, 0, : self._columns, : self._columns]
    return done.reshape(lanes, -1, self._columns)

  def _below(self, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Products `[L, R, N, h, h]` of rows `[L, R, N, h, F]`, `[L, N, h, F]`."""
    lanes, repeats, count, size, width = rows.shape
    rows = rows.swapaxes(1, 2).reshape(lanes * count, repeats * size, width)
    columns = columns.reshape(lanes * count, size, width)
    below = self._product("ltf,lsf->lts", rows, columns)
    below = below.reshape(lanes, count, repeats, size, size)
    return below.swapaxes(1, 2)


def cumulative(g: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns sums of log-decays `[L, C]` up to each token t = -1, ..., C - 1.

  Returns:
    From the start `[L, C + 1]`, and from after each column s `[L, C + 1, C]`,
    which is 0 where s >= t.
  """
  r = jnp.arange(g.shape[1])
  upto = jnp.arange(g.shape[1] + 1)[:, None] > r
  upto = jnp.where(upto, g[:, None, :], 0)
  after = (r[:, None] > r).astype(g.dtype)
  # An exponent is summed in full, whatever the precision of other products.
  highest = jax.lax.Precision.HIGHEST
  between = jnp.einsum("ltr,rs->lts", upto, after, precision=highest)
  return upto.sum(axis=-1), between


def of(g: jax.Array | None, product: Callable) -> Any:
  """Returns the decay of a chunk, by the rank of its log-decays or None."""
  if g is None:
    return Unit(product)
  return (Scalar if g.ndim == 2 else Vector)(g, product)


def tile(x: Any, rows: int) -> Any:
  """Repeats the rows, the last axis but one, for each of R blocks of them."""
  repeats = rows // x.shape[-2]
  return x if repeats == 1 else jnp.concatenate([x] * repeats, axis=-2)


def choose(seen: Any, x: jax.Array) -> jax.Array:
  """Returns the rows that see something, `[L, C, 1]`, else 0; None: all.

  What others would read may have overflowed, and 0 times that is not 0. So a
  product is chosen of, and its rows are, for its gradient.
  """
  return x if seen is None else jnp.where(tile(seen, x.shape[1]), x, 0)


def _padded(x: jax.Array, axis: int) -> jax.Array:
  """Pads an axis with zeros to a power of two."""
  size = x.shape[axis]
  more = (1 << (size - 1).bit_length()) - size
  pad = [(0, more if i == axis else 0) for i in range(x.ndim)]
  return jnp.pad(x, pad) if more else x


def _doubled(upto: jax.Array, until: jax.Array, after: jax.Array) -> tuple:
  """Returns sums over blocks of 2 h tokens from those over blocks of h."""
  total = upto[:, :, -1:]
  first, second = total[:, 0::2], total[:, 1::2]
  join = lambda x, a, b: jnp.concatenate(
      [x[:, 0::2] + a, x[:, 1::2] + b], axis=2
  )
  return join(upto, 0, first), join(until, 0, first), join(after, second, 0)


def _halves(sums: Any, x: jax.Array, y: jax.Array, before: bool) -> tuple:
  """Rows of the second halves and columns of the first, decayed to between."""
  upto, until, after = sums
  lanes, count, size, width = upto.shape
  x = x.reshape(lanes, -1, count, size, width)[:, :, 1::2]
  y = y.reshape(lanes, count, size, width)[:, 0::2]
  rows = x * jnp.exp((until if before else upto)[:, None, 1::2])
  return rows, y * jnp.exp(after[:, 0::2])


def _joined(done: jax.Array, below: jax.Array) -> jax.Array:
  """Joins blocks `[L, R, N, h, h]` pairwise with what is below the diagonal."""
  first, second = done[:, :, 0::2], done[:, :, 1::2]
  top = jnp.concatenate([first, jnp.zeros_like(first)], axis=-1)
  bottom = jnp.concatenate([below, second], axis=-1)
  return jnp.concatenate([top, bottom], axis=-2)
