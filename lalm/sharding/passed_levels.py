"""Log-linear attention over a sequence that is split over devices.

A state holds a sum for each level (`lalm.attention.fenwick`). A stretch of
tokens decays those before it, merges the levels up to the highest bit in which
the positions before and after it differ, and adds its own:

    S -> merge(a S) + B                                                    (1)

B is what the stretch leaves of an empty state at its position. Maps (1) of
neighbouring stretches make one of both, so each device has the state before its
tokens in log2 P exchanges of a map, as in a parallel prefix sum (Hillis and
Steele 1986).
"""

from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.attention import fenwick
from lalm.sharding import affine
from lalm.sharding import place


class Stretch(NamedTuple):
  """A map (1), or the state after all tokens so far.

  Attributes:
    S: B, `[B, G, N, K, V]`.
    keep: a, `[B, G]`; 0 where a document begins within the stretch.
    position: after its last token, `[B, G]`.
    first: id of the first token's document, `[B]`.
    last: id of the last token's, `[B]`.
  """

  S: jax.Array
  keep: jax.Array
  position: jax.Array
  first: jax.Array
  last: jax.Array


def of_shard(
    form: contract.Form,
    axis: str,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    weights: jax.Array,
    log_decay: jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: fenwick.State | None = None,
    **keywords: Any,
) -> contract.Result:
  """Returns what a form of `hierarchical` does, each device with its tokens.

  Args:
    form: `hierarchical.recurrent` or `hierarchical.chunkwise`.
    axis: of the mesh, over which the tokens are split in order.
    q: this device's queries `[B, T / P, H, K]`.
    k: its keys `[B, T / P, G, K]`.
    v: its values `[B, T / P, G, V]`.
    weights: of its tokens, `[B, T / P, H, N + 1]`.
    log_decay: of its tokens, `[B, T / P, G]`, or `[G]`, or None.
    segment_ids: of its tokens, integers `[B, T / P]`: packed documents.
    state: before the first token of all, the same on every device.
    **keywords: of the form.

  Returns:
    out `[B, T / P, H, V]` of its tokens, and the state after the last token of
    all, the same on every device.

  Raises:
    ValueError: as in the form.
  """
  given = dict(weights=weights, log_decay=log_decay, **keywords)
  before = state
  if before is None:
    before = affine.empty(form, q, k, v, **given)
  if segment_ids is not None:
    given["segment_ids"] = segment_ids
  blank = _blank(axis, before, q.shape[1], segment_ids)
  after = form(q, k, v, state=blank, **given).state
  first = blank.segment
  keep = _keep(log_decay, q.shape[1], after.S)
  keep = jnp.where((first == after.segment)[:, None], keep, 0)
  own = Stretch(after.S, keep, after.position, first, after.segment)
  start, end = _around(axis, before, own)
  out = form(q, k, v, state=start, **given).out
  return contract.Result(out, end)


def _blank(
    axis: str, before: fenwick.State, length: int, segment_ids: Any
) -> fenwick.State:
  """An empty state where a device's first token stands."""
  seen = place.seen(axis, length)
  position, segment = before.position + seen, before.segment
  if segment_ids is not None:
    since = -before.position[:, 0]
    start, segment = place.document(axis, segment_ids, 0, since, before.segment)
    position = jnp.broadcast_to((seen - start)[:, None], position.shape)
  return fenwick.State(jnp.zeros_like(before.S), position, segment)


def _keep(log_decay: Any, length: int, S: jax.Array) -> jax.Array:
  """What a stretch leaves of the sums before it, `[B, G]`."""
  if log_decay is None:
    return jnp.ones(S.shape[:2], S.dtype)
  total = log_decay.astype(S.dtype)
  total = total.sum(axis=1) if total.ndim == 3 else total * length
  return jnp.broadcast_to(jnp.exp(total), S.shape[:2])


def _joined(earlier: Stretch, later: Stretch) -> Stretch:
  """The map of two stretches, one after the other."""
  goes_on = earlier.last == later.first
  keep = jnp.where(goes_on[:, None], later.keep, 0)
  most = fenwick.bits(earlier.position ^ later.position)
  # What no later token sees is left out, not scaled: it may be infinite.
  seen = goes_on & (later.first == later.last)
  S = jnp.where(seen[:, None, None, None, None], earlier.S, 0)
  held = fenwick.merge(S * keep[..., None, None, None], most)
  return later._replace(
      S=held + later.S, keep=earlier.keep * keep, first=earlier.first
  )


def _around(
    axis: str, before: fenwick.State, own: Stretch
) -> tuple[fenwick.State, fenwick.State]:
  """The states before a device's tokens and after those of all."""
  devices, index = lax.axis_size(axis), lax.axis_index(axis)
  begun = Stretch(
      fenwick.held(before).S,
      jnp.ones_like(own.keep),
      before.position,
      before.segment,
      before.segment,
  )
  choose = lambda here, x, y: jax.tree.map(
      lambda a, b: jnp.where(here, a, b), x, y
  )

  def sent(x: Stretch, hops: int) -> Stretch:
    pairs = [(i, i + hops) for i in range(devices - hops)]
    return jax.tree.map(lambda a: lax.ppermute(a, axis, pairs), x)

  whole = choose(index == 0, _joined(begun, own), own)
  hops = 1
  while hops < devices:
    joined = _joined(sent(whole, hops), whole)
    whole = choose(index >= hops, joined, whole)
    hops *= 2
  start = choose(index == 0, begun, sent(whole, 1))
  of = lambda x: fenwick.State(x.S, x.position, x.last)
  return of(start), of(place.of_last(axis, whole))
