"""Linear-time attention over a sequence that is split over devices.

Each device holds T / P tokens. It finds what they do to a state (`affine`),
tells all others, follows the maps of those before it from the first state to
its own, and runs its tokens from there:

    S_p = A_{p-1} S_{p-1} + B_{p-1},   o = form(q, k, v, state=S_p)       (1)

What is sent is P states and transitions, whatever the number of tokens. Full
attention adds up the states of all others instead.

| transition | sent by a device, a head | products beside the form's, a head |
|------------|--------------------------|------------------------------------|
| identity   | F (V + 1)                | those of a state                   |
| diagonal   | F (V + 1)                | those of a state, V + 1 wide       |
| any other  | F (V + F)                | the same, V + F wide; 2 P F^2 V    |

Sources: Sun et al. 2025 (LASP-2, arXiv 2502.07563) gather the states of linear
attention so; here they are of any affine map.
"""

from typing import Any

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.attention.mechanism import Mechanism
from lalm.sharding import affine


def of_shard(
    mechanism: Mechanism,
    form: contract.Form,
    axis: str,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    state: Any = None,
    causal: bool = True,
    **gates: Any,
) -> contract.Result:
  """Returns what a form does, called on each device with its own tokens.

  Args:
    mechanism: whose form it is.
    form: one that takes several tokens and a state.
    axis: of the mesh, over which the tokens are split in order.
    q: this device's queries `[B, T / P, H, K]`.
    k: its keys, as the mechanism has them.
    v: its values, as the mechanism has them.
    state: before the first token of all, the same on every device.
    causal: False only where the mechanism has a full form.
    **gates: those of its tokens, and keywords of the form.

  Returns:
    out `[B, T / P, H, V]` of its tokens, and the state after the last token of
    all, the same on every device.

  Raises:
    ValueError: no affine map, packed documents of full attention, or as in the
      form.
  """
  if not causal and gates.get("segment_ids") is not None:
    raise ValueError("segment_ids: expected causal=True with them, got False")
  gates["causal"] = causal
  before = affine.empty(form, q, k, v, **gates) if state is None else state
  stretch = affine.of(mechanism, form, q, k, v, **gates)
  # Tiled: of another gather's transpose JAX batches the axes wrongly.
  gather = lambda x: lax.all_gather(x[None], axis, tiled=True)
  maps = jax.tree.map(gather, stretch)
  if not causal:
    states = _without_each(before, maps)
  else:
    states = _before_each(before, maps)
  index = lax.axis_index(axis)
  own = jax.tree.map(lambda x: x[index], states)
  after = jax.tree.map(lambda x: x[-1], states)
  out = form(q, k, v, state=own, **gates).out
  return contract.Result(out, after)


def _before_each(state: Any, maps: affine.Map) -> Any:
  """The states before each of P stretches and after the last, [P + 1, ...]."""

  def one(state: Any, stretch: affine.Map) -> tuple[Any, Any]:
    return affine.apply(stretch, state), state

  last, each = lax.scan(one, state, maps)
  join = lambda x, y: jnp.concatenate([x, y[None]])
  return jax.tree.map(join, each, last)


def _without_each(state: Any, maps: affine.Map) -> Any:
  """As `_before_each`, but of all stretches without one, and of all."""
  nothing = jax.tree.map(jnp.zeros_like, state)
  before = _before_each(state, maps)
  behind = _before_each(nothing, jax.tree.map(lambda x: x[::-1], maps))
  # Never by subtraction: those before a stretch and those behind it.
  behind = jax.tree.map(
      lambda x: jnp.concatenate([x[-2::-1], jnp.zeros_like(x[:1])]), behind
  )
  add = lambda x, y: x + y
  return jax.tree.map(add, before, behind)._replace(segment=before.segment)
