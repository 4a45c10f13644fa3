"""One query against cached keys and values, which gain its own in place.

A cache stands heads first, `[B, G, N, D]`, as products with a query read it.
The query's own key and value are weighed apart, so the cache is read before it
is written and need not be copied:

    o = (sum_s p_s v_s + p v) / (sum_s p_s + p),   p_s = exp(x_s - top)   (1)

over cached keys s that are seen, with scores x_s, and its own score x.
"""

import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from lalm.attention import contract
from lalm.attention import scores


class Cache(NamedTuple):
  """Keys `[B, G, N, K]` and values `[B, G, N, V]`."""

  keys: jax.Array
  values: jax.Array


def heads_first(x: jax.Array) -> jax.Array:
  """Returns `[B, N, G, D]` as `[B, G, N, D]`, or the other way round."""
  return jnp.swapaxes(x, 1, 2)


def read(cache: Cache, v: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns keys and values `[B, N, G, D]`, the values as `unrounded`.

  Args:
    cache: of all tokens.
    v: new values.
  """
  keys, values = map(heads_first, cache)
  return keys, unrounded(values, v)


def unrounded(values: jax.Array, v: jax.Array) -> jax.Array:
  """Returns cached values in a dtype that holds those of v.

  An output has the dtype of the values it is made of, and must not be rounded
  as the cache is.
  """
  return values.astype(jnp.promote_types(values.dtype, v.dtype))


def write(
    cache: Cache, k: jax.Array, v: jax.Array, position: jax.Array | int
) -> Cache:
  """Returns the cache with new tokens from a position on.

  Args:
    cache: to write to.
    k: keys `[B, G, S, K]`.
    v: values `[B, G, S, V]`.
    position: of the first one, 0 to N - S.
  """
  one = lambda x, new: _updated(x, new.astype(x.dtype), position)
  return Cache(*map(one, cache, (k, v)))


@jax.custom_jvp
def _updated(x: jax.Array, new: jax.Array, position: Any) -> jax.Array:
  """Returns x with new tokens from a position on.

  Numbers of 16 bits are written as integers: XLA would make all of x float32
  on a CPU, to write to that and to round it back, five times a step's time.
  """
  if x.dtype.itemsize != 2:
    return _slice_updated(x, new, position)
  bits = lambda x: lax.bitcast_convert_type(x, jnp.uint16)
  found = _slice_updated(bits(x), bits(new), position)
  return lax.bitcast_convert_type(found, x.dtype)


def _slice_updated(x: jax.Array, new: jax.Array, position: Any) -> jax.Array:
  return lax.dynamic_update_slice_in_dim(x, new, position, axis=2)


@_updated.defjvp
def _updated_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
  x, new, position = primals
  dx, d_new, _ = tangents
  return _updated(x, new, position), _slice_updated(dx, d_new, position)


def step(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    cache: Cache,
    *,
    seen: jax.Array,
    position: jax.Array | int,
    scale: Any = None,
) -> tuple[jax.Array, Cache]:
  """Returns (1), and the cache with the token written to it.

  Args:
    q: query `[B, 1, H, K]`.
    k: its own key `[B, 1, G, K]`.
    v: its own value `[B, 1, G, V]`.
    cache: of the tokens before.
    seen: which of them the query sees, `[B, N]`.
    position: where the token is written, 0 to N - 1; not seen there yet.
    scale: multiplies the scores; 1 / sqrt(K) if None.

  Returns:
    out `[B, 1, H, V]` in v's dtype; the cache.
  """
  batch, _, heads, width = q.shape
  dtypes = (q.dtype, *(x.dtype for x in cache))
  dtype = contract.accumulator(*dtypes)
  precision = contract.precision(*dtypes)
  product = functools.partial(jnp.einsum, precision=precision)
  keys, values = (x.astype(dtype) for x in cache)
  k, own = (heads_first(y).astype(x.dtype) for x, y in zip(cache, (k, v)))
  q = (q.astype(dtype) * scores.factor(scale, width)).reshape(
      batch, k.shape[1], -1, width
  )
  x = product("bgnk,bgrk->bgnr", keys, q)
  x = jnp.where(seen[:, None, None], jnp.swapaxes(x, 2, 3), -jnp.inf)
  x_own = jnp.sum(q * k.astype(dtype), axis=-1, keepdims=True)
  top = jnp.maximum(x.max(axis=-1, keepdims=True), x_own)
  top = lax.stop_gradient(jnp.where(top == -jnp.inf, 0, top))
  p, p_own = jnp.exp(x - top), jnp.exp(x_own - top)
  out = contract.long_product(product, p, values)
  out = contract.divide(
      out + p_own * own.astype(dtype), p.sum(axis=-1, keepdims=True) + p_own
  )
  cache = write(cache, _after(out, k), _after(out, own), position)
  return out.reshape(batch, 1, heads, -1).astype(v.dtype), cache


def _after(out: jax.Array, y: jax.Array) -> jax.Array:
  """Returns y `[B, G, 1, D]`, which XLA can only know once it knows out.

  Else it may write to a cache before it has read it all, and copies it first:
  eight times the time. (It drops `lax.optimization_barrier` too early.)
  """
  first = lax.stop_gradient(out[:, :, :1, :1])
  never = (first != first) & (first == first)
  return jnp.where(never, 0, y)
