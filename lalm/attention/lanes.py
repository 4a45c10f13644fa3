"""How the forms of linear-time attention run over a sequence: lanes and chunks.

The contract's layout is `[B, T, H, D]`. Within the forms arrays stand in
*lanes*, one a batch entry and key head (L = B G), and the R query heads that
share a key head stand one after the other: q `[L, R T, K]`, k `[L, T, K]`. So
every product is of two matrices a lane, which XLA also differentiates without
copies.
"""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract


def enter(x: jax.Array, lanes: int) -> jax.Array:
  """Returns `[B, T, H, ...]` as `[L, R T, ...]`, for so many lanes."""
  x = jnp.swapaxes(x, 1, 2)
  return x.reshape(lanes, -1, *x.shape[3:])


def leave(x: jax.Array, batch: int, heads: int) -> jax.Array:
  """Inverse of `enter`: `[L, R T, ...]` as `[B, T, H, ...]`."""
  x = x.reshape(batch, heads, -1, *x.shape[2:])
  return jnp.swapaxes(x, 1, 2)


def apart(x: jax.Array, length: int) -> jax.Array:
  """Returns `[L, R T, ...]` token by token: `[T, L, R, ...]`."""
  return jnp.moveaxis(x.reshape(x.shape[0], -1, length, *x.shape[2:]), 2, 0)


def together(x: jax.Array) -> jax.Array:
  """Inverse of `apart`."""
  return jnp.moveaxis(x, 0, 2).reshape(x.shape[1], -1, *x.shape[3:])


def by_batch(body: Callable, batch: int, *arrays: Any) -> Any:
  """Runs `body` on arrays whose lanes are two axes again, B and G.

  What a body of one token does to a state is done in place only where the state
  has the caller's axes.
  """
  split = lambda x: x.reshape(batch, -1, *x.shape[1:])
  join = lambda x: x.reshape(-1, *x.shape[2:])
  return jax.tree.map(join, body(*jax.tree.map(split, arrays)))


def thin(x: jax.Array) -> jax.Array:
  """Leaves out axes of length 1, for the same reason as `_cut`."""
  return x.reshape([n for n in x.shape if n != 1])


def real(length: int, chunk: int) -> jax.Array | None:
  """Returns `[1, N C]`, False on what `scan` pads; None where it does not."""
  if length % chunk == 0:
    return None
  return jnp.arange(-(-length // chunk) * chunk)[None] < length


def scan(
    body: Callable,
    state: Any,
    arrays: Any,
    chunk: int,
    reverse: bool = False,
) -> Any:
  """Scans `body` over chunks of C tokens; differentiated, it is recomputed.

  Args:
    body: takes the state and a chunk `[B, C, ...]` of the arrays; returns the
      state and an output.
    state: before the first chunk (reverse: the last).
    arrays: a pytree of `[B, T, ...]`.
    chunk: C; the last chunk is filled by repeating the last token.
    reverse: whether to go backwards.

  Returns:
    The state and the outputs `[N, ...]`.
  """

  def one_chunk(state: Any, xs: Any) -> Any:
    whole = lambda x, like: x.reshape(like.shape[0], chunk, *like.shape[2:])
    return body(state, jax.tree.map(whole, xs, arrays))

  keep = jax.checkpoint_policies.save_only_these_names(contract.QUOTIENT)
  one_chunk = jax.checkpoint(one_chunk, prevent_cse=False, policy=keep)
  xs = jax.tree.map(lambda x: _cut(x, chunk), arrays)
  return lax.scan(one_chunk, state, xs, reverse=reverse)


def _cut(x: jax.Array, chunk: int) -> jax.Array:
  """Cuts `[B, T, ...]` into `[N, B, C, ...]`, padded to whole chunks.

  Padding repeats the last token: a feature map need not be finite at 0, and 0
  times its derivative there would spoil the gradients. Axes of length 1 are
  left out: XLA copies a whole array to move even these.
  """
  more = -x.shape[1] % chunk
  if more:
    pad = [(0, more if i == 1 else 0) for i in range(x.ndim)]
    x = jnp.pad(x, pad, "edge")
  batch, _, *rest = x.shape
  if batch > 1:
    x = jnp.moveaxis(x.reshape(batch, -1, chunk, *rest), 1, 0)
  return x.reshape(-1, *(n for n in (batch, chunk, *rest) if n != 1))


def join(
    x: jax.Array, batch: int, length: int, heads: int, width: int
) -> jax.Array:
  """Returns thin outputs `[N, B, C, H, V]` of chunks as `[B, T, H, V]`."""
  x = x.reshape(x.shape[0], batch, -1, heads, width)
  if batch > 1:
    x = jnp.moveaxis(x, 0, 1)
  return x.reshape(batch, -1, heads, width)[:, :length]
