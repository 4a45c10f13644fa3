"""Softmax attention (Vaswani et al. 2017, arXiv 1706.03762, equation 1).

    o_t = sum_s P_ts v_s,   P_ts = exp(x_ts) / sum_r exp(x_tr),
    x_ts = scale q_t . k_s                                            (1)

over the keys s that query t sees (`masks`, equation 1).

| form      | products (full, a head) | memory beyond inputs | derivatives |
|-----------|-------------------------|----------------------|-------------|
| parallel  | 2 T S (K + V)           | T S                  | all         |
| blockwise | 2 T S (K + V)           | T V + tiles          | all, linear |
| step      | 2 S (K + V) a token     | S                    | all         |

Causal `blockwise` never visits tiles beyond the diagonal: about half of it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import cache as caches
from lalm.attention import contract
from lalm.attention import masks
from lalm.attention import scores
from lalm.attention import tiles
from lalm.attention import tiling


class State(NamedTuple):
  """Cache of keys and values, in their own dtypes.

  `keys` `[B, G, N, K]` and `values` `[B, G, N, V]` hold N tokens at most, the
  first `length` of them written. `start` `[B]` is where the last document
  begins and `segment` `[B]` is its id.
  """

  keys: jax.Array
  values: jax.Array
  length: jax.Array
  start: jax.Array
  segment: jax.Array


def init(
    batch: int,
    heads: int,
    width: int,
    value_width: int,
    *,
    capacity: int,
    dtype: Any = jnp.float32,
) -> State:
  """Returns an empty cache with room for `capacity` tokens.

  Args:
    batch: B.
    heads: G, key/value heads.
    width: K.
    value_width: V.
    capacity: N, most tokens the cache will hold. A call that goes past it
      returns NaN: the length is not known when it is compiled.
    dtype: of keys and values.
  """
  for name in ("batch", "heads", "width", "value_width", "capacity"):
    shapes.check_positive(name, locals()[name])
  return State(
      jnp.zeros((batch, heads, capacity, width), dtype),
      jnp.zeros((batch, heads, capacity, value_width), dtype),
      jnp.zeros((), jnp.int32),
      jnp.zeros(batch, jnp.int32),
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
) -> contract.Result:
  """Returns (1) through the T x S matrix: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, S, G, V]`.
    causal: query t sees keys up to p + t, p the length of `state`.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: cache of earlier keys and values, with room for S more.

  Returns:
    out `[B, T, H, V]` in v's dtype and the cache with the new tokens.

  Raises:
    ValueError: a rank, dtype, axis or combination the contract excludes.
  """
  call = _prepare(q, k, v, causal, segment_ids, state)
  cache = call.joined(k, v)
  keys, values = caches.read(cache, v)
  mask = masks.dense(call.seen, keys.shape[1])
  out, _ = scores.over_matrix(q, keys, values, mask, scale)
  state = call.after(cache, k.shape[1])
  return contract.Result(_within(out, state).astype(v.dtype), state)


@contract.form
def blockwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = True,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) tile by tile, in linear memory forward and backward.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`.
    v: values `[B, S, G, V]`.
    causal: as in `parallel`; without a state, tiles of the future are skipped.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    segment_ids: integers `[B, T]`, non-decreasing: packed documents.
    state: cache of earlier keys and values, with room for S more.
    chunk: tokens along a side of a tile, about.

  Returns:
    out `[B, T, H, V]` in v's dtype and the cache with the new tokens.

  Raises:
    ValueError: as in `parallel`, or chunk < 1.
  """
  if chunk is not None:
    shapes.check_positive("chunk", chunk)
  call = _prepare(q, k, v, causal, segment_ids, state)
  cache, seen = call.joined(k, v), call.seen
  keys, values = caches.read(cache, v)
  triangular = causal and state is None
  if triangular:
    seen = seen._replace(stop=None)  # the tiles are causal by themselves
  out, _ = over_tiles(q, keys, values, seen, triangular, scale, chunk)
  new = call.after(cache, k.shape[1])
  return contract.Result(_within(out, new).astype(v.dtype), new)


@contract.form
def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    scale: float | jax.Array | None = None,
    segment_ids: jax.Array | None = None,
    state: State | None = None,
) -> contract.Result:
  """Returns (1) for one more token, T = S = 1, against the cache.

  Args:
    q: query `[B, 1, H, K]`.
    k: key `[B, 1, G, K]`.
    v: value `[B, 1, G, V]`.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    segment_ids: integers `[B, 1]`; an id that differs from the cache's last
      starts a document.
    state: cache with room for the token; None starts one that holds it alone.

  Returns:
    out `[B, 1, H, V]` in v's dtype and the cache with the new token.

  Raises:
    ValueError: T or S is not 1, or as in `parallel`.
  """
  shapes.check_one_token(q, k)
  call = _prepare(q, k, v, True, segment_ids, state)
  blank = lambda x: jnp.zeros_like(caches.heads_first(x))
  cache = call.cache or caches.Cache(blank(k), blank(v))
  slots = jnp.arange(cache.keys.shape[2], dtype=jnp.int32)
  seen = slots < jnp.full((q.shape[0], 1), call.written)
  if call.seen.start is not None:
    seen &= slots >= call.seen.start
  out, cache = caches.step(
      q,
      k,
      v,
      cache,
      seen=seen,
      position=call.written,
      scale=scale,
  )
  state = call.after(cache, 1)
  return contract.Result(_within(out, state), state)


def matrix(q: jax.Array, k: jax.Array, **gates: Any) -> jax.Array:
  """Returns the `[B, H, T, S]` matrix P of (1): `parallel` on the identity.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`.
    **gates: keywords of `parallel`.
  """
  v = contract.identity_values(k)
  return jnp.swapaxes(parallel(q, k, v, **gates).out, 1, 2)


class _Call(NamedTuple):
  """A checked call.

  Attributes:
    cache: of the tokens before; None without a state.
    written: how many these are.
    seen: keys of each query, counted from the first of these.
    document: first position and id of the last document, `[B]`.
  """

  cache: caches.Cache | None
  written: Any
  seen: masks.Interval
  document: list[jax.Array]

  def joined(self, k: jax.Array, v: jax.Array) -> caches.Cache:
    """Returns the cache with the call's own keys and values."""
    new = caches.Cache(*map(caches.heads_first, (k, v)))
    if self.cache is None:
      return new
    return caches.write(self.cache, *new, self.written)

  def after(self, cache: caches.Cache, tokens: int) -> State:
    """Returns the state with so many tokens more."""
    length = jnp.asarray(self.written + tokens, jnp.int32)
    return State(*cache, length, *self.document)


def _prepare(q, k, v, causal, segment_ids, state) -> _Call:
  """Checks the call."""
  sizes = shapes.check_qkv(q, k, v)
  batch, queries, keys = sizes["B"], sizes["T"], sizes["S"]
  if queries != keys and (state is not None or causal):
    raise ValueError(
        "k: expected as many keys as queries when causal or given a state"
        f" (T = {queries}), got S = {keys}"
    )
  masks.check_segment_ids(segment_ids, batch, queries, keys)
  held, written, start, last = None, 0, None, None
  if state is not None:
    _check_state(state, k, v)
    held = caches.Cache(state.keys, state.values)
    written, start, last = state[2:]
  seen, *document = masks.of_call(
      batch, queries, keys, causal, segment_ids, written, start, last
  )
  return _Call(held, written, seen, document)


def _check_state(state: State, k: jax.Array, v: jax.Array) -> None:
  shapes.check_state("state", state, State)
  per_sequence = k.shape[:1]
  shapes.check_axes(
      {
          "k": (k, "BSGK"),
          "state.keys": (state.keys, "BGNK"),
          "v": (v, "BSGV"),
          "state.values": (state.values, "BGNV"),
      }
  )
  shapes.check_integers("state.length", state.length, ())
  shapes.check_integers("state.start", state.start, per_sequence)
  shapes.check_integers("state.segment", state.segment, per_sequence)
  if state.keys.shape[2] < k.shape[1]:
    raise ValueError(
        f"state: expected room for {k.shape[1]} tokens, got a capacity of"
        f" {state.keys.shape[2]}"
    )


def _within(out: jax.Array, state: State) -> jax.Array:
  """Poisons what was computed past the capacity: better NaN than wrong."""
  return jnp.where(state.length <= state.keys.shape[2], out, jnp.nan)


def over_tiles(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    seen: masks.Interval,
    triangular: bool,
    scale: Any = None,
    chunk: int | None = None,
) -> tuple[jax.Array, jax.Array]:
  """Returns (1) through `tiles.attend`, and the scores' logsumexp.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`.
    v: values `[B, S, G, V]`.
    seen: the keys each query sees.
    triangular: T = S and no query sees a later key, whatever `seen.stop`: the
      future is skipped.
    scale: multiplies the scores; 1 / sqrt(K) if None.
    chunk: tokens along a side of a tile, about.

  Returns:
    out `[B, T, H, V]` in v's dtype; logsumexp `[B, T, H]`, 0 where a query
    sees no key.
  """
  batch, queries = q.shape[:2]
  keys = k.shape[1]
  dtypes = (q.dtype, k.dtype, v.dtype)
  dtype = contract.accumulator(*dtypes)
  sizes = tiling.choose(queries, keys, chunk, triangular)
  more_q, more_k = sizes.padding(queries, keys)
  if more_k and seen.stop is None and not triangular:
    seen = seen._replace(stop=jnp.full((batch, queries), keys, jnp.int32))
  pad = lambda x, more: jnp.pad(x, [(0, 0), (0, more), (0, 0), (0, 0)])
  q = pad(q.astype(dtype) * scores.factor(scale, q.shape[-1]), more_q)
  k, wide = (pad(x.astype(dtype), more_k) for x in (k, v))
  seen = jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, more_q))), seen)
  precision = contract.precision(*dtypes)
  out, lse = tiles.attend(q, k, wide, seen, sizes, precision)
  return out[:, :queries].astype(v.dtype), lse[:, :queries]
