"""Sums over keys as a state: the pieces of linear attention's forms.

A form of linear attention (`linear`, equation 1) is made of three pieces on a
stretch of tokens: `read` what the state holds, `write` the stretch into the
state, and the sums `within` the stretch. One stretch of all tokens is the
`parallel` form, stretches of one token the `recurrent` one, chunks the
`chunkwise` one; the scans over them are here too.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract

CHUNK = 32
_UNROLL = 8  # chunks at once


class State(NamedTuple):
  """Sums over the tokens of the last document so far, float32 at least.

  `S` `[B, G, F, V]`, `z` `[B, G, F]`, and that document's id, `[B]`.
  """

  S: jax.Array
  z: jax.Array
  segment: jax.Array


# Numerator `[B, G, R, T, V]` and denominator `[B, G, R, T]` of (1).
Sums = tuple[jax.Array, jax.Array]


def add(a: Sums, b: Sums) -> Sums:
  """Returns the sums over the keys of both."""
  return a[0] + b[0], a[1] + b[1]


class Pieces(NamedTuple):
  """A checked call: the pieces of (1) that all forms are made of.

  Arrays are heads first here: q `[B, G, R, T, F]` with R queries a key head,
  k `[B, G, S, F]`, v `[B, G, S, V]`, ids `[B, T]` or None. It is a pytree.

  Attributes:
    state: before the first token.
    feature_map: phi, a `jax.tree_util.Partial`.
    product: `einsum` of the call's precision, a `Partial` too.
    scale: of the scores, or None.
  """

  state: State
  feature_map: Any
  product: Callable
  scale: Any

  def heads_first(self, q: Any, k: Any, v: Any, real: Any = None) -> tuple:
    """Returns phi(q), phi(k) and v in the accumulator's dtype, heads first.

    Args:
      q: `[B, T, H, K]` or None.
      k: `[B, S, G, K]` or None.
      v: `[B, S, G, V]` or None.
      real: `[1, S]`, False on the keys of padding, or None.
    """
    dtype = self.state.S.dtype
    if q is not None:
      groups = self.state.S.shape[1]
      q = q.reshape(*q.shape[:2], groups, -1, q.shape[-1])
      q = self.feature_map(q.astype(dtype).transpose(0, 2, 3, 1, 4))
      q = q.astype(dtype)
    if k is not None:
      k = self.feature_map(k.astype(dtype).transpose(0, 2, 1, 3))
      k = k.astype(dtype)
      v = v.astype(dtype).transpose(0, 2, 1, 3)
    if real is not None:
      k = jnp.where(real[:, None, :, None], k, 0)
    return q, k, v

  def read(self, state: State, q: Any, ids: Any) -> Sums:
    """Returns what the state holds for each query."""
    num = self.product("bgrtf,bgfv->bgrtv", q, state.S)
    den = self.product("bgrtf,bgf->bgrt", q, state.z)
    if ids is None:
      return num, den
    goes_on = (ids == state.segment[:, None])[:, None, None]
    return jnp.where(goes_on[..., None], num, 0), jnp.where(goes_on, den, 0)

  def write(
      self, state: State, k: Any, v: Any, ids: Any, backwards: bool = False
  ) -> State:
    """Returns the state of the last document (backwards: the first)."""
    S, z, segment = state
    if ids is not None:
      last = ids[:, 0 if backwards else -1]
      goes_on = (segment == last)[:, None, None]
      S, z = jnp.where(goes_on[..., None], S, 0), jnp.where(goes_on, z, 0)
      k = jnp.where((ids == last[:, None])[:, None, :, None], k, 0)
      segment = last
    S = S + self.product("bgsf,bgsv->bgfv", k, v)
    return State(S, z + k.sum(axis=2), segment)

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
    scores = self.product("bgrtf,bgsf->bgrts", q, k)
    t = jnp.arange(q.shape[3])[:, None]
    s = jnp.arange(k.shape[2])
    seen = {"all": None, "causal": s <= t, "after": s > t}[order]
    if ids is not None:
      same = (ids[:, :, None] == ids[:, None, :])[:, None, None]
      seen = same if seen is None else same & seen
    if seen is not None:
      scores = jnp.where(seen, scores, 0)
    num = self.product("bgrts,bgsv->bgrtv", scores, v)
    return num, scores.sum(axis=-1)

  def output(self, sums: Sums, normalize: bool) -> jax.Array:
    """Returns o of (1) as `[B, T, H, V]`."""
    num, den = sums
    batch, groups, repeats, length, width = num.shape
    # Axes of length 1 slow the sums of this quotient's gradient down tenfold.
    num = num.reshape(-1, length, width)
    if normalize:
      num = contract.divide(num, den.reshape(-1, length, 1))
    elif self.scale is not None:
      num = num * self.scale
    num = num.reshape(batch, groups * repeats, length, width)
    return jnp.swapaxes(num, 1, 2)


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
  times = (3, 2, 2, 1)
  xs = tuple(
      None if x is None else jnp.moveaxis(jnp.expand_dims(x, t), t + 1, 0)
      for x, t in zip((q, k, v, ids), times)
  )
  body = functools.partial(one_token, call, order)
  state, sums = lax.scan(body, state, xs, reverse=order == "after")
  return state, jax.tree.map(
      lambda x: jnp.moveaxis(x[:, :, :, :, 0], 0, 3), sums
  )


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
  """Arrays cut along time, as `_cut` does; `real` is False on padding."""

  q: Any
  k: Any
  v: Any
  ids: Any
  real: Any


def _cut(x: Any, chunk: int) -> Any:
  """Cuts `[B, T, ...]` into `[N, B, C, ...]`, padded to whole chunks.

  Padding repeats the last token: a feature map need not be finite at 0, and 0
  times its derivative there would spoil the gradients. A batch of one is left
  out, `[N, C, ...]`: XLA copies a whole array to move even an axis of length 1.
  """
  if x is None:
    return None
  more = -x.shape[1] % chunk
  if more:
    pad = [(0, more if i == 1 else 0) for i in range(x.ndim)]
    x = jnp.pad(x, pad, "edge")
  if x.shape[0] == 1:
    return x.reshape(-1, chunk, *x.shape[2:])
  x = x.reshape(x.shape[0], -1, chunk, *x.shape[2:])
  return jnp.moveaxis(x, 1, 0)


def _thin(x: jax.Array) -> jax.Array:
  """Leaves out the other axes of length 1, for the same reason."""
  return x.reshape(x.shape[0], *(size for size in x.shape[1:] if size != 1))


def _join(x: jax.Array, shape: tuple[int, int, int, int]) -> jax.Array:
  """Inverse of `_cut` and `_thin`, to the shape `[B, T, H, V]`."""
  batch, length, heads, width = shape
  if batch > 1:
    x = jnp.moveaxis(x, 0, 1)
  return x.reshape(batch, -1, heads, width)[:, :length]


def over_chunks(
    call: Pieces,
    body: Callable,
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    causal: bool,
    ids: Any,
    normalize: bool,
    chunk: int,
) -> contract.Result:
  """Returns what a form returns, by `body` over chunks of C tokens.

  Args:
    call: the pieces, and the state before the first token.
    body: `by_token` or `by_chunk`.
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`.
    v: values `[B, S, G, V]`.
    causal: whether query t sees keys up to t only.
    ids: document ids `[B, T]` or None.
    normalize: whether the output is divided by its denominator.
    chunk: C.
  """
  (batch, length), keys = q.shape[:2], k.shape[1]
  chunk = min(chunk, max(length, keys))
  real = None
  if keys % chunk:
    real = _cut(jnp.arange(-(-keys // chunk) * chunk)[None] < keys, chunk)
  q_cut, k_cut, v_cut = (_cut(x, chunk) for x in (q, k, v))
  xs = _Chunks(q_cut, k_cut, v_cut, _cut(ids, chunk), real)
  run = functools.partial(_run, call, body)
  output = lambda call, sums: call.output(sums, normalize).astype(v.dtype)
  if causal:
    state, out = run("causal", call.state, xs, output)
  elif ids is None:
    state, _ = run("write", call.state, xs._replace(q=None), None)
    _, out = run("read", state, xs._replace(k=None, v=None, real=None), output)
  else:
    # Every key of a document is up to a query or after it.
    keep = lambda call, sums: sums
    state, until = run("causal", call.state, xs, keep)
    empty = jax.tree.map(jnp.zeros_like, call.state)
    _, after = run("after", empty, xs, keep)
    output = functools.partial(output, call)
    # Chunks of a single sequence stand where a batch does.
    out = (jax.vmap(output) if batch > 1 else output)(add(until, after))
  shape = (batch, length, q.shape[2], v.shape[3])
  return contract.Result(_join(out, shape), state)


def _run(call, body, order, state, xs: _Chunks, output) -> Any:
  """Scans `body` over chunks; its inside is recomputed when differentiated.

  Several chunks are unrolled, since XLA runs their products side by side on a
  CPU's cores, each being too small to be shared out. That does not pay in a
  derivative, which is of the scan as it is.
  """
  scan = functools.partial(_scan, body, order, output)
  unroll = _UNROLL if body is by_chunk else 1
  arguments = (call, state, xs)
  # What a user's feature map closes over may be differentiated, too.
  many, free = jax.closure_convert(functools.partial(scan, unroll), *arguments)
  one, same = jax.closure_convert(functools.partial(scan, 1), *arguments)

  @jax.custom_jvp
  def run(arguments, free, same):
    del same
    return many(*arguments, *free)

  @run.defjvp
  def derivative(primals, tangents):
    plain = lambda arguments, free, same: one(*arguments, *same)
    return jax.jvp(plain, primals, tangents)

  return run(arguments, free, same)


def _scan(body, order, output, unroll, call, state, xs) -> Any:
  """Scans `body` over chunks, `unroll` of them at once where there are many."""
  single = state.S.shape[0] == 1
  lead = (1,) if single else ()
  shapes = jax.tree.map(lambda x: (*lead, *x.shape[1:]), xs)
  if xs.real is not None:
    shapes = shapes._replace(real=(1, *xs.real.shape[1:]))

  def chunk(state: State, xs: _Chunks) -> Any:
    xs = jax.tree.map(lambda x, shape: x.reshape(shape), xs, shapes)
    arrays = call.heads_first(xs.q, xs.k, xs.v, xs.real)
    state, sums = body(call, order, state, (*arrays, xs.ids))
    out = None if output is None else output(call, sums)
    if single:
      out = jax.tree.map(lambda x: x[0], out)
    return state, _thin(out[None])[0] if isinstance(out, jax.Array) else out

  keep = jax.checkpoint_policies.save_only_these_names(contract.QUOTIENT)
  chunk = jax.checkpoint(chunk, prevent_cse=False, policy=keep)
  thin = jax.tree.map(_thin, xs)
  if len(xs.q if xs.k is None else xs.k) < unroll:
    unroll = 1
  return lax.scan(chunk, state, thin, reverse=order == "after", unroll=unroll)
