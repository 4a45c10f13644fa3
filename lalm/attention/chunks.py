"""Tokens a chunk at a time: what `transitions.token` does, by products.

A chunk is blocks of C tokens. What a token writes, w_t, is the value less what
the state already holds, a triangular system in the pairs of keys, P (`decays`,
equation 1); with S the state before the block,

    (I + beta P[k, k]) W = beta (V - k~ S),   O = P[q, k] W + q~ S,       (1)

where q~ and k~ decay from the start of the block. Pairs and inverses do not
depend on the state: they are made for all blocks of a chunk at once, then the
state goes from block to block. A token that writes r times is r tokens, of
which the first decays and the last is queried. A document that overflows spoils
no other but those in a block with it. Sources: Yang et al. 2023 (arXiv
2312.06635) for the chunks, Yang et al. 2024 (2406.06484) for the system.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import decays
from lalm.attention import transitions
from lalm.attention import triangular

State = transitions.State
Tokens = transitions.Tokens
CHUNK = 128  # tokens, or writes where a token has several
# Writes a block: solving a system costs C^3, so it has fewer.
_PLAIN, _SOLVED = 32, 16


class Sizes(NamedTuple):
  """Tokens a chunk and tokens a block, which divide it."""

  chunk: int
  block: int


def sizes(
    length: int, chunk: int | None, *, solved: bool, writes: int = 1
) -> Sizes:
  """Returns how a sequence is cut.

  Args:
    length: T.
    chunk: tokens a chunk as asked for, or None.
    solved: whether there is a system to solve.
    writes: r.

  Raises:
    ValueError: a chunk that is not an integer of at least 1.
  """
  if chunk is not None:
    shapes.check_positive("chunk", chunk)
  block = max(1, (_SOLVED if solved else _PLAIN) // writes)
  if chunk is None:
    chunk = max(1, CHUNK // writes // block) * block
  if chunk % block or length <= block:
    # Blocks do not fill it: it is one.
    chunk = min(chunk, length)
    return Sizes(chunk, chunk)
  return Sizes(min(chunk, -(-length // block) * block), block)


def chunk(
    state: State,
    x: Tokens,
    precision: lax.Precision,
    *,
    block: int,
    writes: int = 1,
) -> tuple[State, jax.Array]:
  """Runs the tokens of a chunk.

  Args:
    state: before them.
    x: T tokens in lanes; k, v and beta are `[L, r T, ...]`.
    precision: of the products.
    block: tokens a block, which divide T.
    writes: r.

  Returns:
    The state after them and their outputs `[L, R T, V]`.
  """
  product = functools.partial(jnp.einsum, precision=precision)
  if writes > 1:
    x = _spread(x, writes)
  length = x.k.shape[1]
  count = length // (block * writes)
  segments = _segments(state, x, count)
  if count > 1:
    bonus = None if x.bonus is None else jnp.tile(x.bonus, (count, 1, 1))
    fold = lambda y: _folded(y, length, count)
    x = jax.tree.map(fold, x._replace(bonus=None))._replace(bonus=bonus)
  view = View(x, segments, product)
  passage = _passage(view, x, precision)
  held, S, w = _through(state.S, passage, count, product)
  before = x.bonus is not None
  out = product("ltk,lkv->ltv", view.rows(x.q, before), held)
  out = decays.choose(view.seen(), out)
  for key, value in _written(x, w):
    out += view.apply(view.pairs(x.q, key, before=before), value)
  if before:
    out += _own(x)
  if count > 1:
    out = _unfolded(out, length // count, count)
  if writes > 1:
    out = out[:, writes - 1 :: writes]
  segment = state.segment if x.ids is None else x.ids[-len(S) :, -1]
  return State(S, segment), out


class View:
  """What blocks see of themselves and of the states before them.

  Args:
    x: tokens `[M L, C, ...]`, M blocks of each lane.
    segments: of the states before the blocks, `[M L]`, or None.
    product: `einsum` of some precision.
  """

  def __init__(self, x: Tokens, segments: Any, product: Callable):
    self._ids = x.ids
    self._segments = segments
    self._product = product
    self._decay = decays.of(x.log_decay, product)

  def rows(self, rows: jax.Array, before: bool = False) -> jax.Array:
    """Returns rows `[M L, R C, K]` as they read the states."""
    return decays.choose(self.seen(), self._decay.start(rows, before))

  def seen(self) -> Any:
    """Returns whose document the states are of, `[M L, C, 1]`; None: all's."""
    if self._ids is None:
      return None
    return (self._ids == self._segments[:, None])[..., None]

  def columns(self, columns: jax.Array) -> jax.Array:
    """Returns columns `[M L, C, K]` as they enter the states."""
    columns = self._decay.end(columns)
    if self._ids is None:
      return columns
    same = (self._ids == self._ids[:, -1:])[..., None]
    return jnp.where(same, columns, 0)

  def stays(self) -> Any:
    """Returns whether states are of their blocks' last document, or None."""
    if self._ids is None:
      return None
    return (self._segments == self._ids[:, -1])[:, None, None]

  def keep(self) -> Any:
    """Returns what is left of the states after the blocks, or None for all."""
    return self._decay.keep()

  def pairs(
      self, rows: jax.Array, columns: jax.Array, **which: bool
  ) -> jax.Array:
    """Returns decayed products of tokens of one document, `[M L, R C, C]`."""
    scores = self._decay.pairs(rows, columns, **which)
    if self._ids is None:
      return scores
    same = self._ids[:, :, None] == self._ids[:, None, :]
    return jnp.where(decays.tile(same, scores.shape[1]), scores, 0)

  def apply(self, scores: jax.Array, v: jax.Array) -> jax.Array:
    """Returns the sums over columns, `[M L, R C, V]`."""
    return self._product("lts,lsv->ltv", scores, v)

  def sums(self, columns: jax.Array, v: jax.Array) -> jax.Array:
    """Returns what columns and their values add to the states."""
    return self._product("lsk,lsv->lkv", self.columns(columns), v)


class _Passage(NamedTuple):
  """What a state meets in a block, `[M L, ...]`; None where it does not.

  Attributes:
    keep: factors of the state.
    stays: whether it is of the last document.
    added: what is added to it, whatever it is.
    inverse: of the system of (1).
    known: right side of (1), but for what the state holds.
    rows: what the state holds is read by.
    seen: by whom; others read 0, and not 0 times what may have overflowed.
    keys: of what solves the system.
  """

  keep: Any
  stays: Any
  added: Any = None
  inverse: Any = None
  known: Any = None
  rows: Any = None
  seen: Any = None
  keys: Any = None


def _passage(view: View, x: Tokens, precision: lax.Precision) -> _Passage:
  """Prepares all that does not depend on the state."""
  passage = _Passage(view.keep(), view.stays())
  if x.beta is not None:
    beta = x.beta[..., None]
    system = beta * view.pairs(x.k, x.k, strict=True)
    return passage._replace(
        inverse=triangular.inverse(system, precision),
        known=beta * x.v,
        rows=decays.choose(view.seen(), beta * view.rows(x.k)),
        seen=view.seen(),
        keys=view.columns(x.k),
    )
  passage = passage._replace(added=view.sums(x.k, x.v))
  if x.read is None:
    return passage
  system = view.pairs(x.read, x.write, before=True)
  return passage._replace(
      inverse=triangular.inverse(system, precision),
      known=-view.apply(view.pairs(x.read, x.k, before=True), x.v),
      rows=view.rows(x.read, before=True),
      seen=view.seen(),
      keys=view.columns(x.write),
  )


def _through(
    S: jax.Array, passage: _Passage, count: int, product: Callable
) -> tuple[jax.Array, jax.Array, Any]:
  """Takes a state `[L, K, V]` through M blocks.

  Returns:
    The states before the blocks `[M L, K, V]`, the one after them, and what
    solves (1), `[M L, C, V]`, or None.
  """

  def one(S: jax.Array, block: _Passage) -> Any:
    after = S if block.stays is None else jnp.where(block.stays, S, 0)
    if block.keep is not None:
      after *= block.keep
    if block.added is not None:
      after += block.added
    if block.inverse is None:
      return after, (S, None)
    held = product("ltk,lkv->ltv", block.rows, S)
    w = block.known - decays.choose(block.seen, held)
    w = product("lts,lsv->ltv", block.inverse, w)
    after += product("lsk,lsv->lkv", block.keys, w)
    return after, (S, w)

  if count == 1:
    S, (before, w) = one(S, passage)
    return before, S, w
  apart = lambda y: y.reshape(count, -1, *y.shape[1:])
  S, others = lax.scan(one, S, jax.tree.map(apart, passage))
  join = lambda y: y.reshape(-1, *y.shape[2:])
  before, w = jax.tree.map(join, others)
  return before, S, w


def _written(x: Tokens, w: Any) -> list[tuple[jax.Array, jax.Array]]:
  """Returns the keys and values that a block has added to its state."""
  if x.beta is not None:
    return [(x.k, w)]
  plain = [(x.k, x.v)]
  return plain if x.read is None else [*plain, (x.write, w)]


def _segments(state: State, x: Tokens, count: int) -> Any:
  """Returns the documents of the states before the blocks, `[M L]`."""
  if x.ids is None:
    return None
  lanes, length = x.ids.shape
  last = x.ids.reshape(lanes, count, length // count)[:, :-1, -1]
  return jnp.concatenate([state.segment, last.T.reshape(-1)])


def _folded(y: jax.Array, length: int, count: int) -> jax.Array:
  """Returns `[L, R T, ...]` as blocks `[M L, R C, ...]`."""
  lanes, rows, *rest = y.shape
  y = y.reshape(lanes, rows // length, count, length // count, *rest)
  return jnp.moveaxis(y, 2, 0).reshape(count * lanes, rows // count, *rest)


def _unfolded(y: jax.Array, size: int, count: int) -> jax.Array:
  """Inverse of `_folded`, for blocks of C tokens."""
  lanes, rows, *rest = y.shape
  y = y.reshape(count, lanes // count, rows // size, size, *rest)
  return jnp.moveaxis(y, 0, 2).reshape(lanes // count, rows * count, *rest)


def _spread(x: Tokens, writes: int) -> Tokens:
  """Makes r tokens of a token of r writes; the last one has its query."""
  lanes, count = x.k.shape[:2]
  length = count // writes

  def in_turn(y: jax.Array) -> jax.Array:
    y = y.reshape(lanes, writes, length, *y.shape[2:])
    return jnp.swapaxes(y, 1, 2).reshape(lanes, count, *y.shape[3:])

  def among_zeros(y: jax.Array, place: int) -> jax.Array:
    pads = [jnp.zeros_like(y)] * (writes - 1)
    pads.insert(place, y)
    return jnp.stack(pads, axis=2).reshape(lanes, -1, *y.shape[2:])

  q, decay, ids = among_zeros(x.q, writes - 1), x.log_decay, x.ids
  decay = None if decay is None else among_zeros(decay, 0)
  ids = None if ids is None else jnp.repeat(ids, writes, axis=1)
  changed = dict(k=in_turn(x.k), v=in_turn(x.v), beta=in_turn(x.beta))
  return x._replace(q=q, log_decay=decay, ids=ids, **changed)


def _own(x: Tokens) -> jax.Array:
  """Returns what each token reads of itself, through its bonus."""
  own = decays.tile(x.bonus * x.k, x.q.shape[1])
  v = decays.tile(x.v, x.q.shape[1])
  return (x.q * own).sum(axis=-1, keepdims=True) * v
