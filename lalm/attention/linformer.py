"""Attention to projected keys (Linformer, Wang et al. 2020, arXiv 2006.04768).

S keys and values are mixed to P of each by two matrices that are learned, for
one S, and softmax attention is to these:

    o_t = softmax(scale q_t . (E k)_p)_p (F v)_p,   p = 1 ... P            (1)

(equation 7 there). Every query sees something of every key: there is no causal
form, no state, and no packed documents.

| form      | products (a head)              | memory beyond inputs |
|-----------|--------------------------------|----------------------|
| parallel  | 2 P (S + T) (K + V)            | T P                  |
| blockwise | 2 P (S + T) (K + V)            | T V + tiles          |
"""

from typing import Any

import jax
import jax.numpy as jnp

from lalm import shapes
from lalm.attention import contract
from lalm.attention import masks
from lalm.attention import scores
from lalm.attention import softmax

PROJECTED = 64


def projected(length: int) -> int:
  """Returns P for random projections of S keys: 64, or a quarter of fewer."""
  return max(1, min(PROJECTED, length // 4))


@contract.form
def parallel(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    key_projection: jax.Array,
    value_projection: jax.Array,
    scale: float | jax.Array | None = None,
) -> contract.Result:
  """Returns (1) through the T x P scores: the definition.

  Args:
    q: queries `[B, T, H, K]`.
    k: keys `[B, S, G, K]`; G divides H, head h reads key head h // (H / G).
    v: values `[B, S, G, V]`.
    causal: False; there is no causal form.
    key_projection: E, `[P, S]`, P at most S.
    value_projection: F, `[P, S]`.
    scale: multiplies the scores; 1 / sqrt(K) if None.

  Returns:
    out `[B, T, H, V]` in v's dtype; its state is None.

  Raises:
    ValueError: a rank, dtype or axis the contract excludes, P > S, or
      causal=True.
  """
  k, v, output = _compressed(q, k, v, causal, key_projection, value_projection)
  out, _ = scores.over_matrix(q, k, v, None, scale)
  return contract.Result(out.astype(output), None)


@contract.form
def blockwise(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    *,
    causal: bool = False,
    key_projection: jax.Array,
    value_projection: jax.Array,
    scale: float | jax.Array | None = None,
    chunk: int | None = None,
) -> contract.Result:
  """Returns (1) tile by tile, in linear memory forward and backward.

  Arguments, result and errors as in `parallel`.

  Args:
    chunk: tokens along a side of a tile, about.
  """
  if chunk is not None:
    shapes.check_positive("chunk", chunk)
  k, v, output = _compressed(q, k, v, causal, key_projection, value_projection)
  everything = masks.Interval(None, None)
  out, _ = softmax.over_tiles(q, k, v, everything, False, scale, chunk)
  return contract.Result(out.astype(output), None)


def _compressed(q, k, v, causal, E, F) -> tuple[jax.Array, jax.Array, Any]:
  """Checks the call; returns E k, F v and the dtype of the output."""
  sizes = shapes.check_qkv(q, k, v)
  if causal:
    raise ValueError(
        "causal: expected False, for projected keys are of all tokens, got"
        f" {causal}"
    )
  shapes.check_array("key_projection", E, "PS")
  sizes["P"] = E.shape[0]
  shapes.check_gate("key_projection", E, sizes, ("PS",))
  shapes.check_gate("value_projection", F, sizes, ("PS",))
  if not 1 <= sizes["P"] <= sizes["S"]:
    raise ValueError(
        f"key_projection: expected P from 1 to S = {sizes['S']}, got P ="
        f" {sizes['P']}"
    )
  wide = contract.accumulator(q.dtype, k.dtype, v.dtype)
  precision = contract.precision(q.dtype, k.dtype, v.dtype)
  mix = lambda projection, x: jnp.einsum(
      "ps,bsgd->bpgd", projection.astype(wide), x.astype(wide),
      precision=precision,
  )  # fmt: skip
  return mix(E, k), mix(F, v), v.dtype
