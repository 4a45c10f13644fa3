"""The transition view: linear-time attention as one recurrence.

    S_t = A_t S_{t-1} + k_t v_t^T,   o_t = scale S_t^T q_t                (1)

Families are told apart by the structure of A_t:

| A_t                         | written as           | decay             |
|-----------------------------|----------------------|-------------------|
| a_t I, Diag(a_t)            | `log_decay`          | scalar, vector    |
| (I - beta_t k_t k_t^T) D_t  | and `beta` (a)       | none, scalar, ... |
| D_t - w_t r_t^T             | and `write`, `read`  | none, scalar, ... |

(a) which also writes beta_t k_t v_t^T, not k_t v_t^T. Where a token writes r
times, A_t is a product of r transitions, of which the first decays, and S is
read after the last. `token` is (1) as it is written; `chunks` is its products.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

_READ = "...tk,...kv->...tv"
_WRITE = "...tk,...tv->...kv"


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
  """One token of (1), T = 1: the state after it and its output `[L, R, V]`.

  Any number of axes may stand for L. The state is read by products and changed
  in one sum at the end, for XLA to do so in place.
  """
  product = functools.partial(jnp.einsum, precision=precision)
  first, *others = _writes(x, writes)
  if x.bonus is not None:
    out = _read(state, x, x.q, product)
    out += (x.q * x.bonus * x.k).sum(axis=-1, keepdims=True) * x.v
  state = _write(state, first, product)
  for other in others:
    state = _write(state, other, product)
  if x.bonus is None:
    out = product(_READ, x.q, state.S)
  return state, out


def _writes(x: Tokens, count: int) -> list[Tokens]:
  """Takes a token of r writes apart into r tokens; the first one decays."""
  if count == 1:
    return [x]

  def one(i: int) -> dict[str, jax.Array]:
    rows = lambda y: lax.slice_in_dim(y, i, i + 1, axis=x.k.ndim - 2)
    return dict(k=rows(x.k), v=rows(x.v), beta=rows(x.beta))

  still = x._replace(log_decay=None, ids=None)
  return [
      x._replace(**one(0)),
      *(still._replace(**one(i)) for i in range(1, count)),
  ]


def _read(
    state: State, x: Tokens, rows: jax.Array, product: Callable
) -> jax.Array:
  """Returns what the token's document has before it, read by rows."""
  read = product(_READ, rows, state.S)
  return read if x.ids is None else jnp.where(_goes_on(state, x), read, 0)


def _goes_on(state: State, x: Tokens) -> jax.Array:
  return (state.segment == x.ids[..., 0])[..., None, None]


def _write(state: State, x: Tokens, product: Callable) -> State:
  """Returns the state after a token."""
  decay = _decay(x)
  added = x.v
  if x.beta is not None:
    held = _read(state, x, x.k if decay is None else x.k * decay, product)
    added = x.beta[..., None] * (x.v - held)
  S = state.S if decay is None else state.S * jnp.swapaxes(decay, -1, -2)
  if x.ids is not None:
    S = jnp.where(_goes_on(state, x), S, 0)
  S = S + product(_WRITE, x.k, added)
  if x.read is not None:
    S = S - product(_WRITE, x.write, _read(state, x, x.read, product))
  return State(S, state.segment if x.ids is None else x.ids[..., 0])


def _decay(x: Tokens) -> Any:
  """Returns what is left of the state, `[L, 1, K]` or `[L, 1, 1]`, or None."""
  if x.log_decay is None:
    return None
  decay = jnp.exp(x.log_decay)
  return decay if decay.ndim == x.k.ndim else decay[..., None]
