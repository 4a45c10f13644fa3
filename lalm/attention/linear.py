"""Linear attention (Katharopoulos et al. 2020, arXiv 2006.16236).

The score is a product of features, so that sums over keys are a state:

    S_t = S_{t-1} + phi(k_t) v_t^T,   z_t = z_{t-1} + phi(k_t),
    o_t = S_t^T phi(q_t) / (z_t . phi(q_t))                           (1)

(equations 8 to 12 there); unnormalised, o_t = scale S_t^T phi(q_t). The scale
multiplies the score, so that normalised it cancels. Full attention reads S_T
and z_T at every t.

| form      | products (causal, a head)          | memory beyond inputs       |
|-----------|------------------------------------|----------------------------|
| parallel  | 2 T S (F + V)                      | T S                        |
| recurrent | 4 T F V                            | T V + T / C states         |
| chunkwise | 2 T (C F + C V + 2 F V), C = chunk | T V + T / C states (grads) |
| step      | 4 F V a token                      | F V                        |
"""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import contract
from lalm.attention import features
from lalm.attention import masks

CHUNK = 64


class State(NamedTuple):
  """Sums over the tokens of the last document so far, float32 at least.

  `S` `[B, G, F, V]`, `z` `[B, G, F]`, and that document's id, `[B]`.
  """

  S: jax.Array
  z: jax.Array
  segment: jax.Array


def init(
    batch: int,
    heads: int,
    width: int,
    value_width: int,
    *,
    capacity: int | None = None,
    dtype: Any = jnp.float32,
    feature_map: Any = features.elu_plus_one,
) -> State:
  """Returns the state before the first token.

  Args:
    batch: B.
    heads: G, key/value heads.
    width: K.
    value_width: V.
    capacity: most tokens to come; the state has the same size for any.
    dtype: of the inputs; sums are float32 at least.
    feature_map: decides F.
  """
  del capacity
  sizes = dict(batch=batch, heads=heads, width=width, value_width=value_width)
  for name, size in sizes.items():
    shapes.check_positive(name, size)
  wide = contract.accumulator(dtype)
  count = features.feature_width(feature_map, width)
  return State(
      jnp.zeros((batch, heads, count, value_width), wide),
      jnp.zeros((batch, heads, count), wide),
      jnp.zeros(batch, jnp.int32),
  )


@contract.form
def parallel(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    feature_map: Any = features.elu_plus_one,
    normalize: bool = True,
) -> contract.Result:
  """Returns (1) through the T x S matrix of scores: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, S, G, V]`.
    causal: query t sees keys up to t, and all that `state` has seen.
    scale: multiplies the scores, 1 if None; cancels when normalised.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: sums over earlier tokens.
    feature_map: phi, `[..., K]` to `[..., F]`.
    normalize: divide by z . phi(q).

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: a rank, dtype, axis or combination the contract excludes.
  """
  call, ids = _check(q, k, v, causal, segment_ids, state, feature_map)
  q_all, k_all, v_all = call.heads_first(q, k, v)
  order = "causal" if causal else "all"
  sums = call.within(q_all, k_all, v_all, ids, order)
  if state is not None:
    sums = _add(call.read(state, q_all, ids), sums)
  out = call.output(sums, scale, normalize)
  state = call.write(call.state, k_all, v_all, ids)
  return contract.Result(out.astype(v.dtype), state)


@contract.form
def recurrent(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    feature_map: Any = features.elu_plus_one,
    normalize: bool = True,
) -> contract.Result:
  """Returns (1) token by token, as it is written.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, S, G, V]`.
    causal: query t sees keys up to t, and all that `state` has seen.
    scale: multiplies the scores, 1 if None; cancels when normalised.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: sums over earlier tokens.
    feature_map: phi, `[..., K]` to `[..., F]`.
    normalize: divide by z . phi(q).

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: as in `parallel`.
  """
  call, ids = _check(q, k, v, causal, segment_ids, state, feature_map)
  return _scanned(
      call, _by_token, q, k, v, causal, scale, ids, normalize, CHUNK
  )


@contract.form
def chunkwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    feature_map: Any = features.elu_plus_one,
    normalize: bool = True,
    chunk: int = CHUNK,
) -> contract.Result:
  """Returns (1) chunk by chunk: scores within, the state between chunks.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, S, G, V]`.
    causal: query t sees keys up to t, and all that `state` has seen.
    scale: multiplies the scores, 1 if None; cancels when normalised.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: sums over earlier tokens.
    feature_map: phi, `[..., K]` to `[..., F]`.
    normalize: divide by z . phi(q).
    chunk: C, tokens a chunk. Longer ones do more products within, fewer
      between.

  Returns:
    out `[B, T, H, V]` in v's dtype and the state after the last token.

  Raises:
    ValueError: as in `parallel`, or chunk < 1.
  """
  shapes.check_positive("chunk", chunk)
  call, ids = _check(q, k, v, causal, segment_ids, state, feature_map)
  return _scanned(
      call, _by_chunk, q, k, v, causal, scale, ids, normalize, chunk
  )


@contract.form
def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    feature_map: Any = features.elu_plus_one,
    normalize: bool = True,
) -> contract.Result:
  """Returns (1) for one more token, T = S = 1.

  Args:
    q: queries `[B, 1, H, K]`.
    k: keys `[B, 1, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, 1, G, V]`.
    scale: multiplies the scores, 1 if None; cancels when normalised.
    segment_ids: integers `[B, 1]`; another id than the last starts a document.
    state: sums over earlier tokens.
    feature_map: phi, `[..., K]` to `[..., F]`.
    normalize: divide by z . phi(q).

  Returns:
    out `[B, 1, H, V]` in v's dtype and the state after the token.

  Raises:
    ValueError: T or S is not 1, or as in `parallel`.
  """
  shapes.check_one_token(q, k)
  call, ids = _check(q, k, v, True, segment_ids, state, feature_map)
  arrays = call.heads_first(q, k, v)
  state, sums = _token(call, "causal", call.state, (*arrays, ids))
  out = call.output(sums, scale, normalize)
  return contract.Result(out.astype(v.dtype), state)


def matrix(q: jax.Array, k: jax.Array, **gates: Any) -> jax.Array:
  """Returns the `[B, H, T, S]` matrix applied: `parallel` on the identity.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`.
    **gates: keywords of `parallel`.
  """
  v = contract.identity_values(k)
  return jnp.swapaxes(parallel(q, k, v, **gates).out, 1, 2)


# Numerator `[B, G, R, T, V]` and denominator `[B, G, R, T]` of (1).
_Sums = tuple[jax.Array, jax.Array]


def _add(a: _Sums, b: _Sums) -> _Sums:
  return a[0] + b[0], a[1] + b[1]


class _Call(NamedTuple):
  """A checked call: the pieces of (1) that all forms are made of.

  Arrays are heads first here: q `[B, G, R, T, F]` with R queries a key head,
  k `[B, G, S, F]`, v `[B, G, S, V]`, ids `[B, T]` or None.
  """

  state: State
  feature_map: Any
  product: Callable
  dtype: Any

  def heads_first(self, q: Any, k: Any, v: Any, real: Any = None) -> tuple:
    """Returns phi(q), phi(k) and v in the accumulator's dtype, heads first.

    Args:
      q: `[B, T, H, K]` or None.
      k: `[B, S, G, K]` or None.
      v: `[B, S, G, V]` or None.
      real: `[1, S]`, False on the keys of padding, or None.
    """
    if q is not None:
      groups = self.state.S.shape[1]
      q = q.reshape(*q.shape[:2], groups, -1, q.shape[-1])
      q = self.feature_map(q.astype(self.dtype).transpose(0, 2, 3, 1, 4))
    if k is not None:
      k = self.feature_map(k.astype(self.dtype).transpose(0, 2, 1, 3))
      v = v.astype(self.dtype).transpose(0, 2, 1, 3)
    if real is not None:
      k = jnp.where(real[:, None, :, None], k, 0)
    return q, k, v

  def read(self, state: State, q: Any, ids: Any) -> _Sums:
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

  def within(self, q: Any, k: Any, v: Any, ids: Any, order: str) -> _Sums:
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

  def output(self, sums: _Sums, scale: Any, normalize: bool) -> jax.Array:
    """Returns o of (1) as `[B, T, H, V]`."""
    num, den = sums
    if normalize:
      num = contract.divide(num, den[..., None])
    elif scale is not None:
      num = num * scale
    batch, groups, repeats, length, width = num.shape
    num = num.transpose(0, 3, 1, 2, 4)
    return num.reshape(batch, length, groups * repeats, width)


def _check(
    q, k, v, causal, segment_ids, state, feature_map
) -> tuple[_Call, Any]:
  """Checks the call; returns its pieces and the ids as int32."""
  sizes = shapes.check_qkv(q, k, v)
  batch, queries, keys = sizes["B"], sizes["T"], sizes["S"]
  if causal and queries != keys:
    raise ValueError(
        f"k: expected as many keys as queries when causal (T = {queries}), got"
        f" S = {keys}"
    )
  masks.check_segment_ids(segment_ids, batch, queries, keys)
  dtype = contract.accumulator(q.dtype, k.dtype, v.dtype)
  fresh = init(
      batch,
      sizes["G"],
      sizes["K"],
      sizes["V"],
      dtype=dtype,
      feature_map=feature_map,
  )
  if state is None:
    state = fresh
  shapes.check_like("state", state, fresh)
  product = functools.partial(
      jnp.einsum, precision=contract.precision(q.dtype, k.dtype, v.dtype)
  )
  if segment_ids is not None:
    segment_ids = segment_ids.astype(jnp.int32)
  return _Call(state, feature_map, product, dtype), segment_ids


def _token(call: _Call, order: str, state: State, xs: Any) -> Any:
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


def _by_token(call: _Call, order: str, state: State, xs: Any) -> Any:
  """Runs `_token` over a chunk, backwards in time for "after"."""
  q, k, v, ids = xs
  times = (3, 2, 2, 1)
  xs = tuple(
      None if x is None else jnp.moveaxis(jnp.expand_dims(x, t), t + 1, 0)
      for x, t in zip((q, k, v, ids), times)
  )
  body = functools.partial(_token, call, order)
  state, sums = lax.scan(body, state, xs, reverse=order == "after")
  return state, jax.tree.map(lambda x: jnp.moveaxis(x[:, :, :, :, 0], 0, 3), sums)


def _by_chunk(call: _Call, order: str, state: State, xs: Any) -> Any:
  """One chunk of (1), order as in `_token`: the state, and scores within."""
  q, k, v, ids = xs
  if order == "write":
    return call.write(state, k, v, ids), None
  sums = call.read(state, q, ids)
  if order == "read":
    return state, sums
  sums = _add(sums, call.within(q, k, v, ids, order))
  return call.write(state, k, v, ids, backwards=order == "after"), sums


class _Chunks(NamedTuple):
  """Arrays cut along time, `[N, B, C, ...]`; `real` is False on padding."""

  q: Any
  k: Any
  v: Any
  ids: Any
  real: Any


def _cut(x: Any, chunk: int, mode: str = "constant") -> Any:
  """Cuts `[B, T, ...]` into `[N, B, C, ...]`, padded to whole chunks."""
  if x is None:
    return None
  more = -x.shape[1] % chunk
  if more:
    x = jnp.pad(x, [(0, more if i == 1 else 0) for i in range(x.ndim)], mode)
  x = x.reshape(x.shape[0], -1, chunk, *x.shape[2:])
  return jnp.moveaxis(x, 1, 0)


def _join(x: jax.Array, length: int) -> jax.Array:
  """Inverse of `_cut`: `[N, B, C, ...]` to `[B, T, ...]`."""
  x = jnp.moveaxis(x, 0, 1)
  return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :length]


def _scanned(
    call, body, q, k, v, causal, scale, ids, normalize, chunk
) -> contract.Result:
  """Runs `body` over chunks with the state carried between them."""
  keys = k.shape[1]
  real = None
  if keys % chunk:
    real = _cut(jnp.arange(-(-keys // chunk) * chunk)[None] < keys, chunk)
  xs = _Chunks(
      *(_cut(x, chunk) for x in (q, k, v)), _cut(ids, chunk, "edge"), real
  )
  run = functools.partial(_run, call, body)
  output = lambda sums: call.output(sums, scale, normalize).astype(v.dtype)
  if causal:
    state, out = run("causal", call.state, xs, output)
  elif ids is None:
    state, _ = run("write", call.state, xs._replace(q=None), None)
    _, out = run("read", state, xs._replace(k=None, v=None, real=None), output)
  else:
    # Every key of a document is up to a query or after it.
    state, until = run("causal", call.state, xs, lambda sums: sums)
    empty = jax.tree.map(jnp.zeros_like, call.state)
    _, after = run("after", empty, xs, lambda sums: sums)
    out = jax.vmap(output)(_add(until, after))
  return contract.Result(_join(out, q.shape[1]), state)


def _run(call, body, order, state, xs: _Chunks, output) -> Any:
  """Scans `body` over chunks; its inside is recomputed when differentiated."""

  def chunk(state: State, xs: _Chunks) -> Any:
    arrays = call.heads_first(xs.q, xs.k, xs.v, xs.real)
    state, sums = body(call, order, state, (*arrays, xs.ids))
    return state, None if output is None else output(sums)

  chunk = jax.checkpoint(chunk, prevent_cse=False)
  return lax.scan(chunk, state, xs, reverse=order == "after")
