"""Softmax attention over a sequence that is split over devices.

Each device holds T / P queries and gathers the keys and values of all: its
memory is linear in T, and so is what it receives. A causal query of device p
attends through a cache of all keys of which p T / P + t + 1 are written; blocks
of keys that it does not see are computed too, by each device.
"""

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import cache
from lalm.attention import contract
from lalm.attention import softmax
from lalm.sharding import place


def of_shard(
    form: contract.Form,
    axis: str,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    segment_ids: jax.Array | None = None,
    state: None = None,
    **keywords: object,
) -> contract.Result:
  """Returns what a form of `softmax` does, on each device with its own tokens.

  Args:
    form: `softmax.parallel` or `softmax.blockwise`.
    axis: of the mesh, over which the tokens are split in order.
    q: this device's queries `[B, T / P, H, K]`.
    k: its keys `[B, T / P, G, K]`.
    v: its values `[B, T / P, G, V]`.
    causal: whether a query sees no key after it.
    segment_ids: of its tokens, integers `[B, T / P]`: packed documents.
    state: none.
    **keywords: of the form.

  Returns:
    out `[B, T / P, H, V]` of its tokens, and no state.

  Raises:
    ValueError: a state, packed documents of full attention, or as in the form.
  """
  if state is not None:
    raise ValueError("state: expected none with split keys, got one")
  gather = lambda x: lax.all_gather(x, axis, axis=1, tiled=True)
  keys, values = gather(k), gather(v)
  if not causal:
    if segment_ids is not None:
      raise ValueError("segment_ids: expected causal=True with them, got False")
    out = form(q, keys, values, causal=False, **keywords).out
    return contract.Result(out, None)
  start = segment = jnp.zeros(q.shape[0], jnp.int32)
  if segment_ids is not None:
    start, segment = place.document(axis, segment_ids, 0, None, None)
  held = softmax.State(
      cache.heads_first(keys),
      cache.heads_first(values),
      place.seen(axis, q.shape[1]),
      start,
      segment,
  )
  named = dict(keywords, segment_ids=segment_ids, state=held)
  return contract.Result(form(q, k, v, **named).out, None)
