"""Sums over keys as a state: the pieces of linear attention's forms.

A form of linear attention (`linear`, equation 1) is made of three pieces on a
stretch of tokens: `read` what the state holds, `write` the stretch into the
state, and the sums `within` the stretch. One stretch of all tokens is the
`parallel` form, stretches of one token the `recurrent` one, chunks the
`chunkwise` one; the scans over them are here too.

Within, arrays stand in *lanes*, one a batch entry and key head (L = B G), and
the R query heads that share a key head stand one after the other: q `[L, R T,
F]`, k `[L, S, F]`, v `[L, S, V]`. So every product is of two matrices a lane,
which XLA also differentiates without copies.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract

CHUNK = 32
_LONG = 512  # where there are no scores within a chunk


class State(NamedTuple):
  """Sums over the tokens of the last document so far, float32 at least.

  `S` `[B, G, F, V]`, `z` `[B, G, F]`, and that document's id, `[B]`. Within the
  forms there is a lane where B and G stand.
  """

  S: jax.Array
  z: jax.Array
  segment: jax.Array


# Numerator `[L, R T, V]` and denominator `[L, R T]` of (1).
Sums = tuple[jax.Array, jax.Array]


def add(a: Sums, b: Sums) -> Sums:
  """Returns the sums over the keys of both."""
  return a[0] + b[0], a[1] + b[1]


def default_chunk(causal: bool, packed: bool = False) -> int:
  """Returns C of the chunkwise form where none is asked for."""
  return CHUNK if causal or packed else _LONG


def to_lanes(x: jax.Array, groups: int) -> jax.Array:
  """Returns `[B, T, H, D]` as `[L, R T, D]`, with `groups` lanes a batch."""
  batch, _, _, width = x.shape
  return x.transpose(0, 2, 1, 3).reshape(batch * groups, -1, width)


class Pieces(NamedTuple):
  """A checked call: the pieces of (1) that all forms are made of.

  Attributes:
    sizes: length of each axis, as `shapes.check_qkv` returns them.
    feature_map: phi.
    product: `einsum` of the call's precision.
    scale: of the scores, or None.
    dtype: of the sums.
  """

  sizes: dict[str, int]
  feature_map: Any
  product: Callable
  scale: Any
  dtype: Any

  def lanes(self, q: Any, k: Any, v: Any, ids: Any) -> tuple:
    """Returns phi(q), phi(k), v and ids in lanes; what is None stays so."""
    phi = lambda x: self.feature_map(x.astype(self.dtype)).astype(self.dtype)
    groups = self.sizes["G"]
    if q is not None:
      q = to_lanes(phi(q), groups)
    if k is not None:
      k = to_lanes(phi(k), groups)
      v = to_lanes(v.astype(self.dtype), groups)
    if ids is not None:
      ids = jnp.repeat(ids, groups, axis=0)
    return q, k, v, ids

  def enter(self, state: State) -> State:
    """Returns a state in lanes."""
    S, z, segment = state
    segment = jnp.repeat(segment, self.sizes["G"])
    return State(
        S.reshape(-1, *S.shape[2:]), z.reshape(-1, z.shape[2]), segment
    )

  def leave(self, state: State) -> State:
    """Inverse of `enter`."""
    split = lambda x: x.reshape(-1, self.sizes["G"], *x.shape[1:])
    S, z, segment = map(split, state)
    return State(S, z, segment[:, 0])

  def read(self, state: State, q: Any, ids: Any) -> Sums:
    """Returns what the state holds for each query."""
    num = self.product("ltf,lfv->ltv", q, state.S)
    den = self.product("ltf,lf->lt", q, state.z)
    if ids is None:
      return num, den
    goes_on = self._each_query(ids == state.segment[:, None], 1)
    return jnp.where(goes_on[..., None], num, 0), jnp.where(goes_on, den, 0)

  def write(
      self, state: State, k: Any, v: Any, ids: Any, backwards: bool = False
  ) -> State:
    """Returns the state of the last document (backwards: the first)."""
    S, z, segment = state
    if ids is not None:
      last = ids[:, 0 if backwards else -1]
      goes_on = (segment == last)[:, None]
      S, z = jnp.where(goes_on[..., None], S, 0), jnp.where(goes_on, z, 0)
      k = jnp.where((ids == last[:, None])[..., None], k, 0)
      segment = last
    S = S + self.product("lsf,lsv->lfv", k, v)
    return State(S, z + k.sum(axis=1), segment)

  def within(self, q: Any, k: Any, v: Any, ids: Any, order: str) -> Sums:
    """Returns the sums over these keys, through the matrix of scores.

    Args:
      q: queries.
      k: keys.
      v: values.
      ids: document ids or None.
      order: which keys a query sees: "all", "causal" (s <= t) or "after"
        (s > t).
    """
    scores = self.product("ltf,lsf->lts", q, k)
    s = jnp.arange(k.shape[1])
    t = s[:, None]
    seen = {"all": None, "causal": s <= t, "after": s > t}[order]
    if ids is not None:
      same = ids[:, :, None] == ids[:, None, :]
      seen = same if seen is None else same & seen
    if seen is not None:
      scores = jnp.where(self._each_query(seen, -2), scores, 0)
    num = self.product("lts,lsv->ltv", scores, v)
    return num, scores.sum(axis=-1)

  def _each_query(self, x: jax.Array, axis: int) -> jax.Array:
    """Repeats an axis T for each of the R query heads of a key head."""
    repeats = self.sizes["H"] // self.sizes["G"]
    return x if repeats == 1 else jnp.concatenate([x] * repeats, axis)

  def output(self, sums: Sums, normalize: bool) -> jax.Array:
    """Returns o of (1) as `[B, T, H, V]`."""
    num, den = sums
    if normalize:
      num = contract.divide(num, den[..., None])
    elif self.scale is not None:
      num = num * self.scale
    heads, width = self.sizes["H"], num.shape[-1]
    batch = num.shape[0] // self.sizes["G"]
    return jnp.swapaxes(num.reshape(batch, heads, -1, width), 1, 2)


def one_token(call: Pieces, order: str, state: State, xs: Any) -> Any:
  """One token of (1), or a part of it: a chunk with T = S = 1.

  Args:
    call: the pieces.
    order: "write" or "read" only, "causal" (write, then read) or "after"
      (read, then write).
    state: before the token.
    xs: q, k, v and ids of the token; what the order leaves out may be None.
  """
  q, k, v, ids = xs
  new = state if order == "read" else call.write(state, k, v, ids)
  if order == "write":
    return new, None
  return new, call.read(state if order == "after" else new, q, ids)


def by_token(call: Pieces, order: str, state: State, xs: Any) -> Any:
  """Runs `one_token` over a chunk, backwards in time for "after"."""
  q, k, v, ids = xs
  lanes = state.S.shape[0]
  repeats = call.sizes["H"] // call.sizes["G"]
  length = q.shape[1] // repeats if k is None else k.shape[1]
  # `[L, R T, D]` to `[T, L, R, D]`, and back.
  apart = lambda x: jnp.moveaxis(
      x.reshape(lanes, -1, length, *x.shape[2:]), 2, 0
  )
  body = functools.partial(one_token, call, order)
  xs = tuple(None if x is None else apart(x) for x in (q, k, v, ids))
  state, sums = lax.scan(body, state, xs, reverse=order == "after")
  together = lambda x: jnp.moveaxis(x, 0, 2).reshape(lanes, -1, *x.shape[3:])
  return state, jax.tree.map(together, sums)


def by_chunk(call: Pieces, order: str, state: State, xs: Any) -> Any:
  """One chunk of (1), order as in `one_token`: the state, and scores within."""
  q, k, v, ids = xs
  if order == "write":
    return call.write(state, k, v, ids), None
  sums = call.read(state, q, ids)
  if order == "read":
    return state, sums
  sums = add(sums, call.within(q, k, v, ids, order))
  return call.write(state, k, v, ids, backwards=order == "after"), sums


class _Chunks(NamedTuple):
  """Arrays `[B, T, ...]` of a call, or None; `real` is False on padding."""

  q: Any
  k: Any
  v: Any
  ids: Any
  real: Any


def _cut(x: jax.Array, chunk: int) -> jax.Array:
  """Cuts `[B, T, ...]` into `[N, B, C, ...]`, padded to whole chunks.

  Padding repeats the last token: a feature map need not be finite at 0, and 0
  times its derivative there would spoil the gradients. Axes of length 1 are
  left out: XLA copies a whole array to move even these.
  """
  more = -x.shape[1] % chunk
  if more:
    pad = [(0, more if i == 1 else 0) for i in range(x.ndim)]
    x = jnp.pad(x, pad, "edge")
  batch, _, *rest = x.shape
  if batch > 1:
    x = jnp.moveaxis(x.reshape(batch, -1, chunk, *rest), 1, 0)
  return x.reshape(-1, *(n for n in (batch, chunk, *rest) if n != 1))


def _join(x: jax.Array, batch: int, length: int) -> jax.Array:
  """Inverse of `_cut` for chunks `[N, B, C, H, V]`: `[B, T, H, V]`."""
  if batch > 1:
    x = jnp.moveaxis(x, 0, 1)
  return x.reshape(batch, -1, *x.shape[3:])[:, :length]


def over_chunks(
    call: Pieces,
    body: Callable,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    causal: bool,
    ids: Any,
    state: State,
    normalize: bool,
    chunk: int,
) -> contract.Result:
  """Returns what a form returns, by `body` over chunks of C tokens.

  Args:
    call: the pieces.
    body: `by_token` or `by_chunk`.
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`.
    v: values `[B, S, G, V]`.
    causal: whether query t sees keys up to t only.
    ids: document ids `[B, T]` or None.
    state: before the first token, in lanes.
    normalize: whether the output is divided by its denominator.
    chunk: C.
  """
  (batch, length), keys = q.shape[:2], k.shape[1]
  chunk = min(chunk, max(length, keys))
  real = None
  if keys % chunk:
    real = jnp.arange(-(-keys // chunk) * chunk)[None] < keys
  xs = _Chunks(q, k, v, ids, real)
  run = functools.partial(_run, call, body, chunk)
  output = lambda sums: call.output(sums, normalize).astype(v.dtype)
  if causal:
    state, out = run("causal", state, xs, output)
  elif ids is None:
    state, _ = run("write", state, xs._replace(q=None), None)
    _, out = run("read", state, xs._replace(k=None, v=None, real=None), output)
  else:
    # Every key of a document is up to a query or after it.
    empty = jax.tree.map(jnp.zeros_like, state)
    state, until = run("causal", state, xs, None)
    _, after = run("after", empty, xs, None)
    out = jax.vmap(output)(add(until, after))
  out = out.reshape(-1, batch, chunk, call.sizes["H"], v.shape[-1])
  return contract.Result(_join(out, batch, length), call.leave(state))


def _run(call, body, chunk, order, state, arrays: _Chunks, output) -> Any:
  """Scans `body` over chunks; its inside is recomputed when differentiated."""

  def one_chunk(state: State, xs: _Chunks) -> Any:
    whole = lambda x, like: x.reshape(like.shape[0], chunk, *like.shape[2:])
    *xs, real = jax.tree.map(whole, xs, arrays)
    q, k, v, ids = call.lanes(*xs)
    if real is not None:
      k = jnp.where(real[..., None], k, 0)
    state, sums = body(call, order, state, (q, k, v, ids))
    if output is None:
      return state, sums
    out = output(sums)
    return state, out.reshape([n for n in out.shape if n != 1])

  keep = jax.checkpoint_policies.save_only_these_names(contract.QUOTIENT)
  one_chunk = jax.checkpoint(one_chunk, prevent_cse=False, policy=keep)
  xs = jax.tree.map(lambda x: _cut(x, chunk), arrays)
  return lax.scan(one_chunk, state, xs, reverse=order == "after")
