"""Sums over the blocks of a Fenwick tree, a token or a chunk at a time.

What `hierarchical` is made of; its equation (1) and its levels are meant. With
p tokens so far there is a block for each bit of p that is set, and more tokens
only ever merge blocks: until p + d they are in one that has the highest bit in
which p and p + d differ.
"""

from collections.abc import Callable
import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import chunks
from lalm.attention import decays
from lalm.attention import transitions

Tokens = transitions.Tokens


class State(NamedTuple):
  """A sum for each level above 0, float32 at least.

  `S` `[B, G, N, K, V]`; `position` `[B, G]`, how many tokens of the last
  document they are of; its id `segment` `[B]`.
  """

  S: jax.Array
  position: jax.Array
  segment: jax.Array


def held(state: State) -> State:
  """Returns a state whose levels without a block hold nothing."""
  levels = jnp.arange(state.S.shape[2])
  block = state.position[..., None] >> levels & 1 == 1
  return state._replace(S=jnp.where(block[..., None, None], state.S, 0))


def levels_within(count: int) -> int:
  """Returns c, the levels within a chunk of so many tokens: ceil(log2 C)."""
  return (count - 1).bit_length()


def aligned(length: int, chunk: int) -> int:
  """Returns how many tokens of a document are in chunks that are blocks.

  None where there is one chunk: its state would have no level.
  """
  if length <= chunk or chunk != 1 << levels_within(chunk):
    return 0
  return length // chunk * chunk


def token(
    state: State, x: Tokens, precision: lax.Precision
) -> tuple[State, jax.Array]:
  """One token of (1), T = 1: the state after it and its output `[L, R, V]`.

  Any number of axes may stand for L.
  """
  product = functools.partial(jnp.einsum, precision=precision)
  S, seen = state.S, state.position
  position = x.position[..., 0]
  end = position + 1
  if x.ids is not None:
    goes_on = state.segment == x.ids[..., 0]
    S = jnp.where(goes_on[..., None, None, None], S, 0)
    seen = jnp.where(goes_on, seen, 0)
  if x.log_decay is not None:
    S = S * jnp.exp(x.log_decay)[..., None, None]
  out = _read(S, x.q, x.weights[..., 1:], product)
  out += x.weights[..., :1] * (x.q * x.k).sum(axis=-1, keepdims=True) * x.v
  new = product("...tk,...tv->...kv", x.k, x.v)
  S = merge(S, bits(seen ^ end))
  S += _at(S, bits(position ^ end), new)
  segment = state.segment if x.ids is None else x.ids[..., 0]
  return State(S, end, segment), _within(out, x.position, x.weights)


def chunk(
    state: State,
    x: Tokens,
    precision: lax.Precision,
    *,
    inner: int,
    anywhere: bool,
) -> tuple[State, jax.Array]:
  """Runs the C tokens of a chunk.

  Args:
    state: before them; without its first c levels unless `anywhere`.
    x: the tokens.
    precision: of the products.
    inner: c.
    anywhere: whether the chunk may begin within a block.
  """
  product = functools.partial(jnp.einsum, precision=precision)
  view = chunks.View(x, state.segment, product)
  count, t = x.weights.shape[-1], x.position
  place = t if anywhere else jnp.arange(t.shape[1])[None]
  level = bits(place[:, :, None] ^ place[:, None, :])
  within = _chosen(x.weights, level, count if anywhere else inner + 1)
  out = view.apply(view.pairs(x.q, x.k) * within, x.v)
  # Blocks of less than 2^c tokens, which are merged when a chunk ends one.
  short = min(inner, count - 1) if anywhere else 0
  weights = x.weights[..., count - state.S.shape[1] :]
  if anywhere:
    first = state.position[:, None] >> jnp.arange(1, count)
    first <<= jnp.arange(1, count)
    # What is a block for the state is within a longer one for later queries.
    level = bits(t[:, :, None] ^ first[:, None])
    weights = _chosen(x.weights, level, count)
  weights, rows = decays.choose(view.seen(), weights), view.rows(x.q)
  # Apart, so that longer blocks add up alike with the shorter ones and without.
  for part in (slice(short, None), slice(short)):
    read = _read(state.S[:, part], rows, weights[..., part], product)
    out += decays.choose(view.seen(), read)
  S = _written(state, x, view, short, inner, product)
  segment = state.segment if x.ids is None else x.ids[:, -1]
  out = _within(out, t, x.weights)
  return State(S, t[:, -1] + 1, segment), out


def _written(
    state: State,
    x: Tokens,
    view: chunks.View,
    short: int,
    inner: int,
    product: Callable,
) -> jax.Array:
  """Returns the sums after a chunk, of the levels that the state has.

  Args:
    state: before the chunk.
    x: its tokens.
    view: of the tokens.
    short: levels up to c that the state has.
    inner: c.
    product: `einsum` of some precision.
  """
  end = x.position[:, -1] + 1
  S, stays, keep = state.S, view.stays(), view.keep()
  lowest = x.weights.shape[-1] - S.shape[1]
  if stays is not None:
    S = jnp.where(stays[:, None], S, 0)
  if keep is not None:
    S = S * keep[:, None]
  S = merge(S, bits(state.position ^ end), lowest)
  # Tokens since the last multiple of 2^c are in short blocks, the others all in
  # one.
  columns = view.columns(x.k)
  level = bits(x.position ^ end[:, None])[..., None]
  far = jnp.where(level > inner, columns, 0) if short else columns
  turn = end >> inner
  longer = bits((turn - 1) ^ turn) + inner
  S += _at(S, longer, product("lsk,lsv->lkv", far, x.v), lowest)
  if not short:
    return S
  own = level == jnp.arange(1, short + 1)
  near = jnp.where(own[..., None], columns[:, :, None], 0)
  near = near.reshape(*columns.shape[:2], -1)
  new = product("lsm,lsv->lmv", near, x.v)
  new = new.reshape(-1, short, *S.shape[2:])
  return jnp.concatenate([S[:, :short] + new, S[:, short:]], axis=1)


def _read(
    S: jax.Array, rows: jax.Array, weights: jax.Array, product: Callable
) -> jax.Array:
  """Returns sum_j w[t, j] S_j^T q_t.

  Args:
    S: `[..., J, K, V]`.
    rows: q, `[..., R T, K]`.
    weights: w, `[..., R T, J]`.
    product: `einsum` of some precision.
  """
  rows = weights[..., None] * rows[..., None, :]
  rows = rows.reshape(*rows.shape[:-2], -1)
  S = S.reshape(*S.shape[:-3], -1, S.shape[-1])
  return product("...tm,...mv->...tv", rows, S)


def merge(S: jax.Array, most: jax.Array, lowest: int = 1) -> jax.Array:
  """Returns sums whose levels up to one are added up there.

  Args:
    S: `[..., J, K, V]`, of level `lowest` and on.
    most: that level, `[...]`.
    lowest: the first level of S.
  """
  level = jnp.arange(S.shape[-3]) + lowest
  upto = (level <= most[..., None])[..., None, None]
  merged = jnp.where(upto, S, 0).sum(axis=-3)
  return jnp.where(upto, 0, S) + _at(S, most, merged, lowest)


def _at(
    S: jax.Array, place: jax.Array, new: jax.Array, lowest: int = 1
) -> jax.Array:
  """Returns zeros like S, `[..., J, K, V]`, but for `new` at a level."""
  level = jnp.arange(S.shape[-3]) + lowest
  here = (level == place[..., None])[..., None, None]
  return jnp.where(here, new[..., None, :, :], 0)


def bits(x: jax.Array) -> jax.Array:
  """Returns the number of bits of integers, 0 for 0."""
  return 32 - lax.clz(x.astype(jnp.int32))


def _chosen(weights: jax.Array, level: jax.Array, count: int) -> jax.Array:
  """Returns the weights of levels.

  Args:
    weights: `[L, R T, N + 1]`.
    level: `[L or 1, T, S]`, each less than `count`.
    count: how many levels there may be; a choice a level is quicker than an
      index each.
  """
  level = decays.tile(level, weights.shape[1])
  chosen = jnp.broadcast_to(
      weights[..., :1], (*weights.shape[:2], level.shape[2])
  )
  for i in range(1, count):
    chosen = jnp.where(level == i, weights[..., i : i + 1], chosen)
  return chosen


def _within(
    out: jax.Array, position: jax.Array, weights: jax.Array
) -> jax.Array:
  """Poisons what has no level: better NaN than wrong."""
  beyond = bits(position)[..., None] >= weights.shape[-1]
  return jnp.where(decays.tile(beyond, out.shape[-2]), jnp.nan, out)
