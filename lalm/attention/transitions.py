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
read after the last. `token` is (1) a token at a time; `chunks` is its products.
"""

from collections.abc import Callable
import functools
import itertools
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
    weights: of levels, `[L, R T, N + 1]`, for `hierarchical`.
    position: of each token in its document, `[L, T]`, for `hierarchical`.
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
  weights: Any = None
  position: Any = None
  ids: Any = None


def token(
    state: State, x: Tokens, precision: lax.Precision, writes: int = 1
) -> tuple[State, jax.Array]:
  """One token of (1), T = 1: the state after it and its output `[L, R, V]`.

  Any number of axes may stand for L. What a row reads after the token is what
  it reads before, decayed, and its products with the keys that are written: so
  all is read at once, and the state changed by sums at the end, which XLA does
  in place. Where nothing is read before, the output is read after.
  """
  product = functools.partial(jnp.einsum, precision=precision)
  S, decay = _of_document(state, x), _decay(x)
  read = functools.partial(_read, product, S)
  late = lambda rows: rows if decay is None else rows * decay
  out, written = None, [(x.k, x.v)]
  if x.beta is not None:
    held, out = read(late(x.k), late(x.q))
    written = _replaced(x, held, writes)
  elif x.read is not None:
    erased, out = read(x.read, late(x.q))
    written.append((-x.write, erased))
  elif x.bonus is not None:
    (out,) = read(x.q)
    out += _dot(x.q * x.bonus, x.k) * x.v
  if decay is not None:
    S = S * jnp.swapaxes(decay, -1, -2)
  for key, value in written:
    S = S + product(_WRITE, key, value)
  if out is None:
    out = product(_READ, x.q, S)
  elif x.bonus is None:
    out += sum(_dot(x.q, key) * value for key, value in written)
  return State(S, state.segment if x.ids is None else x.ids[..., 0]), out


def _replaced(x: Tokens, held: jax.Array, writes: int) -> list[tuple]:
  """Returns keys and what each write changes, r times `[L, 1, ...]`.

  Args:
    x: the token.
    held: what its keys read before it, `[L, r, V]`.
    writes: r.
  """
  written: list[tuple] = []
  for i in range(writes):
    own = lambda y: lax.slice_in_dim(y, i, i + 1, axis=x.k.ndim - 2)
    k = own(x.k)
    seen = own(held) + sum(_dot(k, key) * value for key, value in written)
    written.append((k, own(x.beta)[..., None] * (own(x.v) - seen)))
  return written


def _of_document(state: State, x: Tokens) -> jax.Array:
  """Returns what the state holds of the token's document."""
  if x.ids is None:
    return state.S
  goes_on = state.segment == x.ids[..., 0]
  return jnp.where(goes_on[..., None, None], state.S, 0)


def _read(product: Callable, S: jax.Array, *rows: jax.Array) -> list[jax.Array]:
  """Returns what sets of rows read of a state."""
  read = product(_READ, jnp.concatenate(rows, axis=-2), S)
  edges = itertools.accumulate(y.shape[-2] for y in rows[:-1])
  return jnp.split(read, list(edges), axis=-2)


def _dot(rows: jax.Array, key: jax.Array) -> jax.Array:
  return (rows * key).sum(axis=-1, keepdims=True)


def _decay(x: Tokens) -> Any:
  """Returns what is left of the state, `[L, 1, K]` or `[L, 1, 1]`, or None."""
  if x.log_decay is None:
    return None
  decay = jnp.exp(x.log_decay)
  return decay if decay.ndim == x.k.ndim else decay[..., None]
