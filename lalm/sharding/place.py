"""Where a device stands in a sequence that is split over several."""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import masks


def seen(axis: str, tokens: int) -> jax.Array:
  """Returns how many tokens the devices before this one hold, int32.

  Args:
    axis: of the mesh, over which the tokens are split in order.
    tokens: that each device holds.
  """
  return jnp.asarray(lax.axis_index(axis) * tokens, jnp.int32)


def document(
    axis: str, segment_ids: jax.Array, written: Any, start: Any, last: Any
) -> tuple[jax.Array, jax.Array]:
  """Returns where the document of a device's first token begins, and its id.

  Args:
    axis: of the mesh, over which the tokens are split in order.
    segment_ids: of this device's tokens, integers `[B, T / P]`.
    written: tokens before the first of all.
    start: where the last document of those begins, `[B]`; None without any.
    last: its id, `[B]`, or None.

  Returns:
    `[B]` each, int32. Where a document begins with the token, none goes on.
  """
  gathered = lax.all_gather(segment_ids, axis, axis=1, tiled=True)
  ids = gathered.astype(jnp.int32)
  batch, total = ids.shape
  interval, *_ = masks.of_call(
      batch, total, total, True, ids, written, start, last
  )
  assert interval.start is not None  # with ids each document begins somewhere
  own = seen(axis, segment_ids.shape[1])
  return interval.start[:, own], ids[:, own]


def of_last(axis: str, tree: Any) -> Any:
  """Returns what the last device holds, on every device.

  Args:
    axis: of the mesh.
    tree: of arrays.
  """
  last = lax.axis_index(axis) == lax.axis_size(axis) - 1
  told = lambda x: lax.psum(jnp.where(last, x, jnp.zeros_like(x)), axis)
  return jax.tree.map(told, tree)
