"""A call of a gated family: checked, taken into lanes and cut into chunks.

Families differ in the gates they take and in what a token and a chunk do with
them (`transitions`, `mlstm`); what their forms have in common is here.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import contract
from lalm.attention import lanes
from lalm.attention import masks
from lalm.attention import transitions

CHUNK = 32
State = transitions.State
Tokens = transitions.Tokens


def init(
    batch: int,
    heads: int,
    width: int,
    value_width: int,
    *,
    capacity: int | None = None,
    dtype: Any = jnp.float32,
) -> State:
  """Returns the state before the first token.

  Args:
    batch: B.
    heads: G, key/value heads.
    width: K, or F where a feature map changes it.
    value_width: V.
    capacity: most tokens to come; the state has the same size for any.
    dtype: of the inputs; the sum is float32 at least.
  """
  del capacity
  sizes = dict(batch=batch, heads=heads, width=width, value_width=value_width)
  for name, size in sizes.items():
    shapes.check_positive(name, size)
  S = jnp.zeros((batch, heads, width, value_width), contract.accumulator(dtype))
  return State(S, jnp.zeros(batch, jnp.int32))


class Call(NamedTuple):
  """A checked call: what its stretches of tokens share.

  Attributes:
    sizes: length of each axis, as `shapes.check_qkv` returns them.
    precision: of the products.
    wide: dtype of the sums.
    out: dtype of the output.
    scale: multiplies the output, or None.
    bonus: `[G, K]` or None.
    inside: what is done to the tokens of a chunk first, `[B, T, ...]` in the
      dtype of the sums: feature maps, so that no gradient keeps their results.
  """

  sizes: dict[str, int]
  precision: lax.Precision
  wide: Any
  out: Any
  scale: Any
  bonus: Any
  inside: Callable[[Tokens], Tokens]

  def enter(self, state: Any) -> Any:
    """Returns a state, `[B, G, ...]` and `segment` `[B]`, in lanes."""
    join = lambda x: x.reshape(-1, *x.shape[2:])
    segment = jnp.repeat(state.segment, self.sizes["G"])
    sums = jax.tree.map(join, state._replace(segment=None))
    return sums._replace(segment=segment)

  def leave(self, state: Any) -> Any:
    """Inverse of `enter`."""
    split = lambda x: x.reshape(-1, self.sizes["G"], *x.shape[1:])
    state = jax.tree.map(split, state)
    return state._replace(segment=state.segment[:, 0])

  def stretch(
      self, body: Callable, state: State, x: Tokens, real: Any = None
  ) -> tuple[State, jax.Array]:
    """Runs `body` over some tokens; state in lanes, arrays `[B, T, ...]`.

    Args:
      body: `token`, `by_token` or `chunk`.
      state: before these tokens.
      x: the tokens.
      real: `[1, T]`, False where a token is padding, which neither decays nor
        writes; None where none is.
    """
    batch, groups = x.k.shape[0], self.sizes["G"]
    x = self.inside(jax.tree.map(self._widen, x))
    if x.log_decay is not None:
      # exp(-1e6) is 0 as exp(-inf) is, but sums of it are numbers.
      x = x._replace(log_decay=jnp.maximum(x.log_decay, -1e6))
    if real is not None:
      keep = lambda y: jnp.where(real.reshape(1, -1, *[1] * (y.ndim - 2)), y, 0)
      still = dict(k=x.k, log_decay=x.log_decay, beta=x.beta, write=x.write)
      x = x._replace(**jax.tree.map(keep, still))
    if x.ids is not None:
      x = x._replace(ids=jnp.repeat(x.ids[..., None], groups, axis=2))
    x = jax.tree.map(lambda y: lanes.enter(y, batch * groups), x)
    if self.bonus is not None:
      bonus = jnp.tile(self.bonus[:, None], (batch, 1, 1))
      x = x._replace(bonus=self._widen(bonus))
    state, out = body(state, x, self.precision)
    if self.scale is not None:
      out = out * self.scale
    return state, lanes.leave(out, batch, self.sizes["H"]).astype(self.out)

  def _widen(self, x: jax.Array) -> jax.Array:
    return x if jnp.issubdtype(x.dtype, jnp.integer) else x.astype(self.wide)


def prepare(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    scale: Any,
    segment_ids: Any,
    state: State | None,
    log_decay: Any,
    bonus: Any = None,
    causal: bool = True,
    features: int | None = None,
    inside: Callable[[Tokens], Tokens] = lambda x: x,
    start: Callable[..., Any] | None = None,
    several: bool = False,
    **gates: Any,
) -> tuple[Call, Any, Tokens]:
  """Checks a call.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, T, G, K]`; `[B, T, r, G, K]` where a token has several.
    v: values `[B, T, G, V]` or `[B, T, r, G, V]`.
    scale: multiplies the output, 1 if None.
    segment_ids: integers `[B, T]` or None.
    state: before the first token, zero if None.
    log_decay: `[G]`, `[B, T, G]` or `[B, T, G, K]`, or None.
    bonus: `[G, K]` or None.
    causal: True.
    features: F, K if None.
    inside: see `Call`.
    start: `init` of the family, this one's if None.
    several: whether k, v and beta have an axis r.
    **gates: `beta` or `log_input` `[B, T, G]`, or `read` and `write`
      `[B, T, G, K]`.

  Returns:
    What its stretches share, the state before the first token, the tokens.

  Raises:
    ValueError: a rank, dtype or axis the contract excludes, or causal=False.
  """
  if not causal:
    raise ValueError(
        f"causal: expected True, for a state that changes has no full form, got"
        f" {causal}"
    )
  sizes = shapes.check_qkv(q, k, v, several)
  shapes.check_scalar("scale", scale)
  batch, length = sizes["B"], sizes["T"]
  shapes.check_own_keys(sizes)
  masks.check_segment_ids(segment_ids, batch, length, length)
  if bonus is not None:
    shapes.check_gate("bonus", bonus, sizes, ("GK",))
  log_decay = _of_tokens(log_decay, {**sizes, "K": features or sizes["K"]})
  wide = contract.accumulator(q.dtype, k.dtype, v.dtype)
  fresh = (start or init)(
      batch, sizes["G"], features or sizes["K"], sizes["V"], dtype=wide
  )
  state = fresh if state is None else state
  shapes.check_like("state", state, fresh)
  segment_ids, state = masks.enter(segment_ids, state)
  precision = contract.precision(q.dtype, k.dtype, v.dtype)
  call = Call(sizes, precision, wide, v.dtype, scale, bonus, inside)
  return call, state, Tokens(q, k, v, log_decay, ids=segment_ids, **gates)


def _of_tokens(log_decay: Any, sizes: dict[str, int]) -> Any:
  """Checks log-decays; those of heads are made those of all tokens."""
  if log_decay is None:
    return None
  shapes.check_gate("log_decay", log_decay, sizes, ("G", "BTG", "BTGK"))
  if log_decay.ndim > 1:
    return log_decay
  return jnp.broadcast_to(log_decay, [sizes[axis] for axis in "BTG"])


Body = Callable[..., tuple[Any, jax.Array]]


def step(token: Body, call: Call, state: Any, x: Tokens) -> contract.Result:
  """Returns what the form `step` returns: one token, without a loop."""

  def body(state: Any, x: Tokens, precision: lax.Precision) -> Any:
    one = lambda state, x: token(state, x, precision)
    return lanes.by_batch(one, call.sizes["B"], state, x)

  inner, out = call.stretch(body, call.enter(state), x)
  return contract.Result(out, call.leave(inner))


def recurrent(
    token: Body, call: Call, state: Any, x: Tokens
) -> contract.Result:
  """Returns what the form `recurrent` returns: token by token."""

  length = min(CHUNK, x.q.shape[1])

  def body(state: Any, x: Tokens, precision: lax.Precision) -> Any:
    apart = lambda y: lanes.apart(y, length)
    one = lambda state, y: token(state, y._replace(bonus=x.bonus), precision)
    xs = jax.tree.map(apart, x._replace(bonus=None))
    state, out = lax.scan(one, state, xs)
    return state, lanes.together(out)

  return chunkwise(body, call, state, x, length)


def chunkwise(
    body: Body, call: Call, state: Any, x: Tokens, chunk: int
) -> contract.Result:
  """Returns what the form `chunkwise` returns, by `body` over chunks."""
  batch, length = x.q.shape[:2]

  def one(state: Any, arrays: Any) -> Any:
    state, out = call.stretch(body, state, *arrays)
    return state, lanes.thin(out)

  arrays = (x, lanes.real(length, chunk))
  inner, out = lanes.scan(one, call.enter(state), arrays, chunk)
  out = lanes.join(out, batch, length, call.sizes["H"], call.sizes["V"])
  return contract.Result(out, call.leave(inner))
