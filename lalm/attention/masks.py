"""Which keys a query attends to: one interval of key positions a query.

Causal masks, caches and packed documents with non-decreasing ids all let a
query see a contiguous range of keys, so a mask is two integers a query,

    key s is attended to by query t   iff   start[t] <= s < stop[t],   (1)

and never a T x S array unless a form materialises one. True means attend.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lalm import shapes


class Interval(NamedTuple):
  """Key positions `[start, stop)` a query sees, `[B, T]` int32; None = all."""

  start: jax.Array | None
  stop: jax.Array | None


def first_of_document(segment_ids: jax.Array) -> jax.Array:
  """Returns the position of the first token of each token's document.

  Args:
    segment_ids: `[B, T]` integers, non-decreasing along T.

  Returns:
    `[B, T]` int32 positions.
  """
  position = lax.broadcasted_iota(jnp.int32, segment_ids.shape, 1)
  begins = segment_ids[:, 1:] != segment_ids[:, :-1]
  begins = jnp.pad(begins, ((0, 0), (1, 0)), constant_values=True)
  return lax.cummax(jnp.where(begins, position, 0), axis=1)


def end_of_document(segment_ids: jax.Array) -> jax.Array:
  """Returns the position after the last token of each token's document.

  Args:
    segment_ids: `[B, T]` integers, non-decreasing along T.

  Returns:
    `[B, T]` int32 positions.
  """
  backwards = first_of_document(segment_ids[:, ::-1])[:, ::-1]
  return segment_ids.shape[1] - backwards


def _entering(segment_ids: jax.Array, last: jax.Array) -> jax.Array:
  """Returns the id under which a call knows the document of a state.

  Its own where the call goes on with it, else one that no token has: a call may
  number its documents anew, and come to that id later.

  Args:
    segment_ids: `[B, T]` integers, non-decreasing along T.
    last: id of the state's document, `[B]`.

  Returns:
    `[B]` ids.
  """
  first = segment_ids[:, 0]
  return jnp.where(first == last, last, first - 1)


def enter(segment_ids: Any, state: Any) -> tuple[Any, Any]:
  """Returns ids as int32, and a state as a call with these ids knows it.

  Args:
    segment_ids: `[B, T]` integers, or None: then the state stays as it is.
    state: has a `segment`, the id of its document, `[B]`.
  """
  if segment_ids is None:
    return None, state
  ids = segment_ids.astype(jnp.int32)
  return ids, state._replace(segment=_entering(ids, state.segment))


def of_call(
    batch: int,
    queries: int,
    keys: int,
    causal: bool,
    segment_ids: jax.Array | None,
    written: Any,
    start: Any,
    last: Any,
) -> tuple[Interval, jax.Array, jax.Array]:
  """Returns what the queries of a call see, after the tokens of a cache.

  Args:
    batch: B.
    queries: T.
    keys: S, new ones.
    causal: whether query t sees no key after it.
    segment_ids: `[B, T]` or None.
    written: keys in the cache, before the new ones.
    start: where the cache's last document begins, `[B]`; None without a cache.
    last: its id, `[B]`, or None.

  Returns:
    The interval of each query; where the last document of the call begins and
    its id, both `[B]`.
  """
  zero = jnp.zeros(batch, jnp.int32)
  stateless = start is None
  start, last = (zero, zero) if stateless else (start, last)
  ends = written + jnp.arange(1, queries + 1, dtype=jnp.int32)
  if not causal:
    ends = jnp.broadcast_to(jnp.int32(written + keys), queries)
  stop = jnp.broadcast_to(ends, (batch, queries))
  if segment_ids is None:
    first = (
        None
        if stateless
        else jnp.broadcast_to(start[:, None], (batch, queries))
    )
    # Without a mask to apply, none is built.
    unbounded = stateless and not causal
    return Interval(first, None if unbounded else stop), start, last
  segment_ids = segment_ids.astype(jnp.int32)  # as states keep them
  first = written + first_of_document(segment_ids)
  if not stateless:
    goes_on = segment_ids == _entering(segment_ids, last)[:, None]
    first = jnp.where(goes_on, start[:, None], first)
  if not causal:
    stop = written + end_of_document(segment_ids)
  interval = Interval(first, stop)
  return interval, first[:, -1], segment_ids[:, -1].astype(jnp.int32)


def near(interval: Interval, token: jax.Array, window: int) -> Interval:
  """Returns the keys of an interval less than `window` tokens away.

  Args:
    interval: the keys each query sees.
    token: position of each query among the keys, `[T]`.
    window: W.
  """
  start, stop = token - window + 1, token + window
  start = jnp.maximum(start, 0 if interval.start is None else interval.start)
  if interval.stop is not None:
    stop = jnp.minimum(stop, interval.stop)
  return Interval(start, stop)


def dense(interval: Interval, keys: int) -> jax.Array | None:
  """Returns (1) as a boolean `[B, 1, T, S]`, None where all is attended to.

  Args:
    interval: the keys each query sees.
    keys: S, the number of key positions.
  """
  s = jnp.arange(keys, dtype=jnp.int32)
  mask = None
  if interval.stop is not None:
    mask = s < interval.stop[:, None, :, None]
  if interval.start is not None:
    after = s >= interval.start[:, None, :, None]
    mask = after if mask is None else mask & after
  return mask


def check_segment_ids(
    segment_ids: jax.Array | None, batch: int, queries: int, keys: int
) -> None:
  """Raises ValueError unless ids are integers `[B, T]` and T equals S.

  They are compared as int32.
  """
  if segment_ids is None:
    return
  shapes.check_integers("segment_ids", segment_ids, (batch, queries))
  if queries != keys:
    raise ValueError(
        f"segment_ids: expected as many keys as queries ({queries}), got {keys}"
    )
