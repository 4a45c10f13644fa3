"""What a stretch of tokens does to the state before it: an affine map.

The states of the linear-time families (`lalm.attention.transitions`, equation
1) go through a stretch of tokens as

    S -> A S + B,                                                         (1)

A the product of the transitions, B what the stretch leaves where there was
nothing. Both are read off one run of a form, whose products are linear in the
values: columns of zeros are put beside the values, and beside an empty state
the columns of which A is wanted. They end as A times these. A diagonal A needs
a column of ones, any other the identity, [F, F]; that of linear attention is
known.

Maps are exact: nothing is divided by a decay and no state is subtracted.
"""

from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.attention.mechanism import Mechanism

_DIAGONAL = ("identity", "scalar", "vector")
_RANK_ONE = "plus rank one"


class Map(NamedTuple):
  """A map (1) of the states of a mechanism.

  Attributes:
    after: B, the state after the stretch where there was none before.
    keep: A, `[B, G, 1, 1]`, `[B, G, F, 1]` for its diagonal, or `[B, G, F, F]`;
      of `mlstm`, whose sums are divided by exp(m), log A, `[B, G]`.
    first: id of the first token's document, `[B]`, or None.
    last: id of the last token's, `[B]`, or None.
  """

  after: Any
  keep: jax.Array
  first: jax.Array | None
  last: jax.Array | None


def check(mechanism: Mechanism) -> None:
  """Raises ValueError for a mechanism whose states do not go as in (1)."""
  transition = mechanism.transition
  if transition not in _DIAGONAL and _RANK_ONE not in transition:
    raise ValueError(
        "mechanism: expected softmax, window, loglinear or one of the"
        " linear-time families, whose state goes through an affine map, got"
        f" {mechanism.name!r}"
    )


def of(
    mechanism: Mechanism,
    form: contract.Form,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    segment_ids: jax.Array | None = None,
    **gates: Any,
) -> Map:
  """Returns the map of some tokens.

  Args:
    mechanism: whose form it is.
    form: one that takes several tokens.
    q: queries `[B, T, H, K]`; only their shape counts.
    k: keys `[B, T, G, K]`, or as the mechanism has them.
    v: values `[B, T, G, V]`, or as the mechanism has them.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    **gates: the mechanism's, and static keywords of the form.

  Raises:
    ValueError: no affine map, or as in the form.
  """
  check(mechanism)
  blank = empty(form, q, k, v, **gates)
  first: Any = None
  last: Any = None
  if segment_ids is not None:
    ids = jnp.asarray(segment_ids, jnp.int32)
    gates["segment_ids"] = ids
    first, last = ids[:, 0], ids[:, -1]
    blank = blank._replace(segment=first)
  probe = _probe(mechanism, blank)
  start = blank._replace(S=jnp.concatenate([blank.S, probe], axis=-1))
  wide = jnp.pad(v, [(0, 0)] * (v.ndim - 1) + [(0, probe.shape[-1])])
  after = form(q, k, wide, state=start, **gates).state
  S, keep = jnp.split(after.S, [v.shape[-1]], axis=-1)
  if hasattr(after, "m"):
    # The logarithm itself: beside a large input gate exp of it may be 0.
    keep = gates["log_decay"].astype(after.m.dtype).sum(axis=1)
    if first is not None:  # nothing goes through where a document begins
      same = jnp.equal(first, last)[:, None]
      keep = jnp.where(same, keep, -jnp.inf)
  elif mechanism.transition == "identity":
    keep = jnp.ones_like(S[..., :1, :1])
  return Map(after._replace(S=S), keep, first, last)


def empty(form: contract.Form, q: Any, k: Any, v: Any, **gates: Any) -> Any:
  """Returns the state before the first token of a call."""
  result = jax.eval_shape(lambda: form(q, k, v, **gates))
  return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), result.state)


def _probe(mechanism: Mechanism, state: Any) -> jax.Array:
  """Columns of which A is read off: none, `[B, G, F, 1]`, `[B, G, F, F]`."""
  S = state.S
  if mechanism.transition == "identity" or hasattr(state, "m"):
    return S[..., :0]
  if mechanism.transition in _DIAGONAL:
    return jnp.ones_like(S[..., :1])
  identity = jnp.eye(S.shape[-2], dtype=S.dtype)
  return jnp.broadcast_to(identity, (*S.shape[:-1], S.shape[-2]))


def apply(stretch: Map, state: Any) -> Any:
  """Returns the state after a stretch of tokens, from the one before it."""
  if stretch.first is not None:
    # A document that begins within the stretch keeps nothing from before it.
    goes_on = (state.segment == stretch.first) & (stretch.first == stretch.last)
    state = _where(goes_on, state)
    state = state._replace(segment=stretch.last)
  if hasattr(state, "m"):
    return _apply_scaled(stretch, state)
  S = _product(stretch.keep, state.S) + stretch.after.S
  state = state._replace(S=S)
  if hasattr(state, "z"):  # of linear attention, which keeps all
    state = state._replace(z=state.z + stretch.after.z)
  return state


def _apply_scaled(stretch: Map, state: Any) -> Any:
  """`apply` for sums that are divided by exp(m) (`mlstm`, equation 2)."""
  after, held = stretch.after, state.m + stretch.keep
  m = lax.stop_gradient(jnp.maximum(after.m, held))
  old, new = jnp.exp(held - m)[..., None], jnp.exp(after.m - m)[..., None]
  S = old[..., None] * state.S + new[..., None] * after.S
  return state._replace(S=S, z=old * state.z + new * after.z, m=m)


def _where(goes_on: jax.Array, state: Any) -> Any:
  """The state where its document goes on, `[B]`, else an empty one."""
  choose = lambda x: jnp.where(goes_on.reshape(-1, *[1] * (x.ndim - 1)), x, 0)
  return jax.tree.map(choose, state._replace(segment=None))._replace(
      segment=state.segment
  )


def _product(keep: jax.Array, S: jax.Array) -> jax.Array:
  if keep.shape[-1] == 1:  # also where F is 1
    return keep * S
  highest = lax.Precision.HIGHEST
  return jnp.einsum("bgef,bgfv->bgev", keep, S, precision=highest)
