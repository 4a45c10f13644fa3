"""`jax.nn.dot_product_attention`, argument for argument, in linear memory."""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from lalm import shapes
from lalm.attention import masks
from lalm.attention import scores
from lalm.attention import softmax


def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    *,
    scale: float | None = None,
    is_causal: bool = False,
    query_seq_lengths: Any = None,
    key_value_seq_lengths: Any = None,
    local_window_size: int | tuple[int, int] | None = None,
    implementation: Literal["xla", "cudnn"] | None = None,
    return_residual: bool = False,
    dropout_rate: float = 0.0,
    deterministic: bool = True,
) -> Any:
  """Returns softmax attention as `jax.nn.dot_product_attention` does.

  Without `bias` and `mask` (which are T x S themselves) memory is linear in
  T, and every derivative exists. It is an `attention_fn` of Flax's
  `MultiHeadDotProductAttention`. One row differs from `jax.nn`: a query that
  sees no key gives exactly 0, not the mean of all values.

  Args:
    query: `[B, T, N, H]` or `[T, N, H]`.
    key: `[B, S, K, H]` or `[S, K, H]`; K divides N.
    value: as `key`.
    bias: added to the scores, broadcasts to `[B, N, T, S]`.
    mask: True (or not zero) = attend, broadcasts to `[B, N, T, S]`.
    scale: multiplies the scores; 1 / sqrt(H) if None.
    is_causal: query t sees keys up to t.
    query_seq_lengths: `[B]` int32; later queries give 0.
    key_value_seq_lengths: `[B]` int32; later keys are not seen.
    local_window_size: keys seen left and right of a query, one number or two.
    implementation: "cudnn" calls `jax.nn`; None and "xla" are this library.
    return_residual: return the scores' logsumexp `[B, T, N]` too.
    dropout_rate: of Flax's layer; only 0 unless `deterministic`.
    deterministic: no dropout.

  Returns:
    out in the query's shape, or (out, logsumexp).

  Raises:
    ValueError: a shape, dtype or option that does not fit.
  """
  if dropout_rate and not deterministic:
    raise ValueError(
        f"dropout_rate: expected 0 or deterministic=True, got {dropout_rate}"
    )
  options = dict(
      scale=scale,
      is_causal=is_causal,
      query_seq_lengths=query_seq_lengths,
      key_value_seq_lengths=key_value_seq_lengths,
      local_window_size=local_window_size,
      return_residual=return_residual,
  )
  if implementation == "cudnn":
    return jax.nn.dot_product_attention(
        query, key, value, bias, mask, implementation="cudnn", **options
    )
  if implementation not in (None, "xla"):
    raise ValueError(
        f"implementation: expected None, xla or cudnn, got {implementation!r}"
    )
  shape = jnp.shape(query)
  query, key, value = (_four(x) for x in (query, key, value))
  sizes = _check(query, key, value)
  target = tuple(sizes[axis] for axis in "BNTS")
  bias = _broadcastable("bias", bias, target)
  mask = _broadcastable("mask", mask, target)
  for name in ("query_seq_lengths", "key_value_seq_lengths"):
    options[name] = _lengths(name, options[name], sizes["B"])
  if isinstance(local_window_size, (int, np.integer)):
    options["local_window_size"] = (local_window_size, local_window_size)
  out, lse = _attend(query, key, value, bias, mask, **options)
  out = out.reshape(shape)
  return (out, lse.reshape(shape[:-1])) if return_residual else out


def _four(x: Any) -> jax.Array:
  x = jnp.asarray(x)
  return x[None] if x.ndim == 3 else x


def _check(query: Any, key: Any, value: Any) -> dict[str, int]:
  axes = {"query": (query, "BTNH"), "key": (key, "BSKH")}
  sizes = shapes.check_axes({**axes, "value": (value, "BSKH")})
  if query.dtype != key.dtype or key.dtype != value.dtype:
    raise ValueError(
        f"key, value: expected the query's dtype {query.dtype}, got {key.dtype}"
        f" and {value.dtype}"
    )
  if sizes["N"] % sizes["K"]:
    raise ValueError(
        f"key: expected a number of heads that divides the query's {sizes['N']}"
        f", got {sizes['K']}"
    )
  return sizes


def _broadcastable(name: str, x: Any, target: tuple[int, ...]) -> Any:
  if x is None:
    return None
  x = jnp.asarray(x)
  x = x.reshape((1,) * (4 - x.ndim) + x.shape)
  fits = x.ndim == 4 and all(a in (1, b) for a, b in zip(x.shape, target))
  if not fits:
    raise ValueError(
        f"{name}: expected a shape that broadcasts to {target}, got {x.shape}"
    )
  return x


def _lengths(name: str, x: Any, batch: int) -> jax.Array | None:
  if x is None:
    return None
  x = jnp.asarray(x)
  if x.shape != (batch,) or not jnp.issubdtype(x.dtype, jnp.integer):
    raise ValueError(
        f"{name}: expected integers of shape {(batch,)}, got {x.dtype}"
        f" {x.shape}"
    )
  return x


@functools.partial(
    jax.jit,
    static_argnames=("is_causal", "local_window_size", "return_residual"),
)
def _attend(
    query,
    key,
    value,
    bias,
    mask,
    *,
    scale,
    is_causal,
    query_seq_lengths,
    key_value_seq_lengths,
    local_window_size,
    return_residual,
):
  """The checked call: through the scores if those are given, else by tiles."""
  batch, queries = query.shape[:2]
  keys = key.shape[1]
  tiled = bias is None and mask is None
  triangular = tiled and is_causal and queries == keys
  seen = _interval(
      (batch, queries, keys),
      is_causal and not triangular,
      query_seq_lengths,
      key_value_seq_lengths,
      local_window_size,
  )
  if tiled:
    out, lse = softmax.over_tiles(query, key, value, seen, triangular, scale)
  else:
    attended = masks.dense(seen, keys)
    if mask is not None:
      mask = mask != 0
      attended = mask if attended is None else attended & mask
    out, lse = scores.over_matrix(query, key, value, attended, scale, bias)
  # As in `jax.nn`, the residual is a constant to differentiation.
  return out, jax.lax.stop_gradient(lse).astype(out.dtype)


def _interval(sizes, is_causal, query_lengths, key_lengths, window):
  """Returns the keys each query sees, None where there is no bound."""
  batch, queries, keys = sizes
  t = jnp.arange(queries, dtype=jnp.int32)[None]
  start, stops = None, []
  if is_causal:
    stops.append(t + 1)
  if window is not None:
    start = jnp.maximum(t - window[0], 0)
    stops.append(t + window[1] + 1)
  if key_lengths is not None:
    stops.append(key_lengths[:, None])
  if query_lengths is not None:
    stops.append(jnp.where(t < query_lengths[:, None], keys, 0))
  full = lambda x: jnp.broadcast_to(x, (batch, queries)).astype(jnp.int32)
  # No bound may reach beyond the keys: tiles are padded there.
  stop = functools.reduce(jnp.minimum, stops, keys) if stops else None
  return masks.Interval(
      None if start is None else full(start),
      None if stop is None else full(stop),
  )
