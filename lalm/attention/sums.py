"""Sums over keys as a state: the pieces of linear attention's forms.

A form of linear attention (`linear`, equation 1) is made of three pieces on a
stretch of tokens: `read` what the state holds, `write` the stretch into the
state, and the sums `within` the stretch. One stretch of all tokens is the
`parallel` form, stretches of one token the `recurrent` one, chunks the
`chunkwise` one; the scans over them are here too.

Within, arrays stand in lanes (`lanes`), L = B G: q `[L, R T, F]`, k `[L, S,
F]`, v `[L, S, V]`. In `read` and `write`, and so for a token, two axes may
stand for L, B and G.
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.attention import lanes

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
    count = self.sizes["B"] * groups
    if q is not None:
      q = lanes.enter(phi(q), count)
    if k is not None:
      k = lanes.enter(phi(k), count)
      v = lanes.enter(v.astype(self.dtype), count)
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
    if ids is None:
      return self._read(state, q)
    goes_on = self._each_query(ids == state.segment[..., None], -1)
    choose = lambda x: jnp.where(goes_on[..., None], x, 0)
    # Of q and of what it reads, which may have overflowed: 0 times that is not
    # 0, nor is its gradient.
    num, den = self._read(state, choose(q))
    return choose(num), jnp.where(goes_on, den, 0)

  def _read(self, state: State, q: jax.Array) -> Sums:
    repeats = self.sizes["H"] // self.sizes["G"]
    if q.shape[-2] == repeats and q.shape[-1] > contract.LONG:  # of one token
      read = functools.partial(contract.long_product, self.product, q)
      return read(state.S), read(state.z[..., None])[..., 0]
    num = self.product("...tf,...fv->...tv", q, state.S)
    return num, self.product("...tf,...f->...t", q, state.z)

  def write(
      self, state: State, k: Any, v: Any, ids: Any, backwards: bool = False
  ) -> State:
    """Returns the state of the last document (backwards: the first)."""
    S, z, segment = state
    if ids is not None:
      last = ids[..., 0 if backwards else -1]
      goes_on = (segment == last)[..., None]
      S, z = jnp.where(goes_on[..., None], S, 0), jnp.where(goes_on, z, 0)
      k = jnp.where((ids == last[..., None])[..., None], k, 0)
      segment = last
    S = S + self.product("...sf,...sv->...fv", k, v)
    # A product, and not k.sum(): XLA would round that one in as many ways as it
    # finds to fuse it with a feature map.
    ones = jnp.ones(k.shape[:-1], k.dtype)
    z = z + self.product("...sf,...s->...f", k, ones)
    return State(S, z, segment)

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
    batch = num.shape[0] // self.sizes["G"]
    return lanes.leave(num, batch, self.sizes["H"])


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
  repeats = call.sizes["H"] // call.sizes["G"]
  length = q.shape[1] // repeats if k is None else k.shape[1]
  body = functools.partial(one_token, call, order)
  xs = jax.tree.map(lambda x: lanes.apart(x, length), (q, k, v, ids))
  state, sums = lax.scan(body, state, xs, reverse=order == "after")
  return state, jax.tree.map(lanes.together, sums)


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


def blocks(length: int, block: int, ids: Any) -> jax.Array:
  """Returns ids `[B, T]` (or `[1, T]`) of blocks of tokens of one document."""
  begins = jnp.arange(length)[None] % block == 0
  if ids is not None:
    other = ids[:, 1:] != ids[:, :-1]
    begins |= jnp.pad(other, ((0, 0), (1, 0)), constant_values=True)
  return jnp.cumsum(begins, axis=1, dtype=jnp.int32)


class Arrays(NamedTuple):
  """Arrays `[B, T, ...]` of a call, or None; `real` is False on padding."""

  q: Any
  k: Any
  v: Any
  ids: Any
  real: Any = None


def over_chunks(
    call: Pieces,
    body: Callable,
    state: State,
    xs: Arrays,
    *,
    causal: bool,
    block: int | None,
    normalize: bool,
    chunk: int,
) -> contract.Result:
  """Returns what a form returns, by `body` over chunks of C tokens.

  Args:
    call: the pieces.
    body: `by_token` or `by_chunk`.
    state: before the first token, in lanes.
    xs: q `[B, T, H, K]`, k `[B, S, G, K]`, v `[B, S, G, V]` and ids `[B, T]`.
    causal: whether query t sees keys up to t only.
    block: or up to the end of its block of so many tokens.
    normalize: whether the output is divided by its denominator.
    chunk: C.
  """
  (batch, length), keys = xs.q.shape[:2], xs.k.shape[1]
  chunk = min(chunk, max(length, keys))
  xs = xs._replace(real=lanes.real(keys, chunk))
  run = functools.partial(_run, call, body, chunk)
  output = lambda sums: call.output(sums, normalize).astype(xs.v.dtype)
  if causal and block is None:
    state, out = run("causal", state, xs, output)
  elif not causal and xs.ids is None:
    state, _ = run("write", state, xs._replace(q=None), None)
    xs_ = xs._replace(k=None, v=None, real=None)
    _, out = run("read", state, xs_, output)
  else:
    # Every key of a document (or block) is up to a query or after it.
    empty = jax.tree.map(jnp.zeros_like, state)
    state, until = run("causal", state, xs, None)
    if block is not None:
      ids = blocks(length, block, xs.ids)
      xs = xs._replace(ids=jnp.broadcast_to(ids, (batch, length)))
    _, after = run("after", empty, xs, None)
    out = jax.vmap(output)(add(until, after))
  heads, width = call.sizes["H"], call.sizes["V"]
  out = lanes.join(out, batch, length, heads, width)
  return contract.Result(out, call.leave(state))


def _run(call, body, chunk, order, state, xs: Arrays, output) -> Any:
  """Scans `body` over chunks; without `output`, it returns sums."""

  def one_chunk(state: State, xs: Arrays) -> Any:
    q, k, v, ids = call.lanes(*xs[:4])
    if xs.real is not None:
      k = jnp.where(xs.real[..., None], k, 0)
    state, sums = body(call, order, state, (q, k, v, ids))
    return state, sums if output is None else lanes.thin(output(sums))

  return lanes.scan(one_chunk, state, xs, chunk, reverse=order == "after")
