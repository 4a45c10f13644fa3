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
