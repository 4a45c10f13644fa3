"""The transition view: linear-time attention as one recurrence.

    S_t = A_t S_{t-1} + k_t v_t^T,   o_t = scale S_t^T q_t                (1)

Families are told apart by the structure of A_t:

| A_t                         | written as           | decay             |
|-----------------------------|----------------------|-------------------|
| a_t I, Diag(a_t)            | `log_decay`          | scalar, vector    |
| (I - beta_t k_t k_t^T) D_t  | and `beta` (a)       | none, scalar, ... |
| D_t - w_t r_t^T             | and `write`, `read`  | none, scalar, ... |

(a) which also writes beta_t k_t v_t^T instead of k_t v_t^T. `token` is (1) as
it is written. `chunk` makes a chunk of C tokens from the state before them, S:
what a token writes, w_t, is the value less what the state already holds, a
triangular system in the pairs of keys, P (`decays`, equation 1):

    (I + beta P[k, k]) W = beta (V - k~ S),   O = P[q, k] W + q~ S,       (2)

q~ and k~ decay from the start of the chunk. Where a token writes r times, A_t
is a product of r transitions, of which the first decays, and S is read after
the last: r tokens of which the others are not queried. Sources: Yang et al.
2023 (arXiv 2312.06635) for the chunks, Yang et al. 2024 (2406.06484) for the
system.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import decays
from lalm.attention import triangular


class State(NamedTuple):
  """The sum over the tokens of the last document so far, float32 at least.

  `S` `[B, G, K, V]` and that document's id, `[B]`. Within the forms there is a
  lane where B and G stand.
  """

  S: jax.Array
  segment: jax.Array


class Tokens(NamedTuple):
  """A stretch of T tokens, in lanes; what a family does not have is None.

  Attributes:
    q: queries `[L, R T, K]`.
    k: keys `[L, r T, K]`: the first of each token, then the second of each.
    v: values `[L, r T, V]`.
    log_decay: `[L, T]` or `[L, T, K]`, at most 0.
    beta: `[L, r T]`.
    read: r_t of (1), `[L, T, K]`.
    write: w_t of (1), `[L, T, K]`.
    bonus: `[L, 1, K]`: the output reads the state before the token, and the
      token itself through this.
    log_input: `[L, T]`, for `mlstm`.
    ids: of documents, `[L, T]`.
  """

  q: Any
  k: Any
  v: Any
  log_decay: Any = None
  beta: Any = None
  read: Any = None
  write: Any = None
  bonus: Any = None
  log_input: Any = None
  ids: Any = None


def token(
    state: State, x: Tokens, precision: lax.Precision, writes: int = 1
) -> tuple[State, jax.Array]:
  """One token of (1), T = 1: the state after it and its output `[L, R, V]`."""
  product = functools.partial(jnp.einsum, precision=precision)
  first, *others = _writes(x, writes)
  state, before = _write(state, first, product)
  for other in others:
    state, _ = _write(state, other, product)
  if x.bonus is None:
    return state, product("lrk,lkv->lrv", x.q, state.S)
  own = before + product("ltk,ltv->lkv", x.bonus * x.k, x.v)
  return state, product("lrk,lkv->lrv", x.q, own)


def _writes(x: Tokens, count: int) -> list[Tokens]:
  """Takes a token of r writes apart into r tokens; the first one decays."""
  if count == 1:
    return [x]
  one = lambda i: {
      name: getattr(x, name)[:, i : i + 1] for name in ("k", "v", "beta")
  }
  first = x._replace(**one(0))
  still = x._replace(log_decay=None, ids=None)
  return [first, *(still._replace(**one(i)) for i in range(1, count))]


def _write(
    state: State, x: Tokens, product: Callable
) -> tuple[State, jax.Array]:
  """The state after a token, and the sum of its document before it."""
  S, segment = state
  if x.ids is not None:
    S = jnp.where((segment == x.ids[:, 0])[:, None, None], S, 0)
    segment = x.ids[:, 0]
  before = S
  if x.log_decay is not None:
    S = S * jnp.exp(x.log_decay.reshape(S.shape[0], -1, 1))
  w = x.v
  if x.beta is not None:
    w = x.beta[..., None] * (w - product("ltk,lkv->ltv", x.k, S))
  S = S + product("ltk,ltv->lkv", x.k, w)
  if x.read is not None:
    erased = product("ltk,lkv->ltv", x.read, before)
    S = S - product("ltk,ltv->lkv", x.write, erased)
  return State(S, segment), before


def chunk(
    state: State, x: Tokens, precision: lax.Precision, writes: int = 1
) -> tuple[State, jax.Array]:
  """T tokens by (2): the state after them and their outputs `[L, R T, V]`."""
  product = functools.partial(jnp.einsum, precision=precision)
  if writes > 1:
    x = _spread(x, writes)
  view = _View(state, x, product)
  written = [(x.k, x.v)]
  if x.beta is not None:
    beta = x.beta[..., None]
    system = beta * view.pairs(x.k, x.k, strict=True)
    w = triangular.solve(system, beta * (x.v - view.held(x.k)), precision)
    written = [(x.k, w)]
  elif x.read is not None:
    system = view.pairs(x.read, x.write, before=True)
    known = view.held(x.read, before=True)
    known += view.apply(view.pairs(x.read, x.k, before=True), x.v)
    written += [(-x.write, triangular.solve(system, known, precision))]
  before = x.bonus is not None
  out = view.held(x.q, before)
  for key, value in written:
    out += view.apply(view.pairs(x.q, key, before=before), value)
  if before:
    out += _own(x)
  if writes > 1:
    out = out[:, writes - 1 :: writes]
  return view.after(written), out


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


class _View:
  """What a chunk sees of itself and of the state before it."""

  def __init__(self, state: State, x: Tokens, product: Callable):
    self._state = state
    self._ids = x.ids
    self._product = product
    self._decay = decays.of(x.log_decay, product)

  def held(self, rows: jax.Array, before: bool = False) -> jax.Array:
    """Returns what the state holds for rows `[L, R T, K]`."""
    S, segment = self._state
    if self._ids is not None:
      goes_on = (self._ids == segment[:, None])[..., None]
      rows = jnp.where(decays.tile(goes_on, rows.shape[1]), rows, 0)
    rows = self._decay.start(rows, before)
    return self._product("ltk,lkv->ltv", rows, S)

  def pairs(
      self, rows: jax.Array, columns: jax.Array, **which: bool
  ) -> jax.Array:
    """Returns decayed products of tokens of one document, `[L, R T, T]`."""
    scores = self._decay.pairs(rows, columns, **which)
    if self._ids is None:
      return scores
    same = self._ids[:, :, None] == self._ids[:, None, :]
    return jnp.where(decays.tile(same, scores.shape[1]), scores, 0)

  def apply(self, scores: jax.Array, v: jax.Array) -> jax.Array:
    """Returns the sums over columns, `[L, R T, V]`."""
    return self._product("lts,lsv->ltv", scores, v)

  def after(self, written: list[tuple[jax.Array, jax.Array]]) -> State:
    """Returns the state once these keys and values are added to it."""
    S, segment = self._state
    S = self._decay.keep(S)
    if self._ids is not None:
      last = self._ids[:, -1]
      S = jnp.where((segment == last)[:, None, None], S, 0)
      segment = last
    for k, v in written:
      k = self._decay.end(k)
      if self._ids is not None:
        k = jnp.where((self._ids == segment[:, None])[..., None], k, 0)
      S = S + self._product("lsk,lsv->lkv", k, v)
    return State(S, segment)


def _own(x: Tokens) -> jax.Array:
  """Returns what each token reads of itself, through its bonus."""
  own = decays.tile(x.bonus * x.k, x.q.shape[1])
  v = decays.tile(x.v, x.q.shape[1])
  return (x.q * own).sum(axis=-1, keepdims=True) * v
