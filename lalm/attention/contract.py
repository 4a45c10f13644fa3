"""What every form of every mechanism shares: signature, dtype, precision.

A causal output is the same to the last bit whatever finite numbers come after
it, and so is one of a document whatever others hold. A number that is not
finite may reach every output of its call, for 0 times it is not 0, and of later
ones for as long as a cache holds it, seen or not.
"""

from collections.abc import Callable, Mapping
import functools
import math
from typing import Any, NamedTuple

import jax
from jax import ad_checkpoint
from jax import lax
import jax.numpy as jnp
import numpy as np

from lalm.attention import tuning

Form = Callable[..., Any]

STATIC = (
    "block",
    "causal",
    "chunk",
    "iterations",
    "landmarks",
    "normalize",
    "window",
)


class Result(NamedTuple):
  """What a form returns: `out` `[B, T, H, V]` and the state after token T."""

  out: jax.Array
  state: Any


def form(fn: Form) -> Form:
  """Returns `fn` jit-compiled with the contract's static keywords.

  These are numbers and flags of Python, not arrays. A plain function given as
  `feature_map` becomes a `jax.tree_util.Partial`, whose code is static and
  whose arrays are traced; functions without arrays of their own hash by
  identity, so pass the same object, not a new lambda a call.
  """
  names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
  names += fn.__code__.co_varnames[
      len(names) : len(names) + fn.__code__.co_kwonlyargcount
  ]
  static = tuple(name for name in STATIC if name in names)
  # Under this name a form's chunks are in the table of `tuning`, if any are.
  tuned_as = f"{fn.__module__.rpartition('.')[2]}.{fn.__name__}"
  compiled = jax.jit(fn, static_argnames=static)
  tuned = tuning.form(compiled, tuned_as, static)

  @functools.wraps(fn)
  def call(q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    for name in static:
      _check_static(name, keywords.get(name))
    return tuned(q, k, v, **with_partial(keywords))

  call.tuned_as = tuned_as  # type: ignore[attr-defined]
  return call


def with_partial(keywords: Mapping[str, Any]) -> dict[str, Any]:
  """Returns keywords with their feature map, if any, as a pytree.

  Raises:
    ValueError: it is no function.
  """
  phi = keywords.get("feature_map")
  if "feature_map" not in keywords or isinstance(phi, jax.tree_util.Partial):
    return dict(keywords)
  if not callable(phi):
    raise ValueError(
        f"feature_map: expected a function of an array, got {phi!r}"
    )
  return {**keywords, "feature_map": jax.tree_util.Partial(phi)}


def _check_static(name: str, value: Any) -> None:
  """Raises ValueError where a program cannot be told apart by the value."""
  try:
    hash(value)
  except TypeError:
    raise ValueError(
        f"{name}: expected a number or flag of Python, not an array, got"
        f" {type(value)}"
    ) from None


def accumulator(*dtypes: Any) -> np.dtype:
  """Returns the dtype of sums and states: float64 for float64, else float32."""
  wide = functools.reduce(jnp.promote_types, dtypes)
  return jnp.promote_types(wide, jnp.float32)


def precision(*dtypes: Any) -> lax.Precision:
  """Returns the precision of products of inputs with these dtypes.

  Float32 inputs are multiplied in float32 on every platform. Products of
  16-bit inputs may use the fast units (TPU bfloat16 passes, GPU TF32): their
  rounding is below that of the inputs.
  """
  narrow = all(jnp.finfo(dtype).bits < 32 for dtype in dtypes)
  return lax.Precision.DEFAULT if narrow else lax.Precision.HIGHEST


# Terms that are added up as one, and so many at least.
LONG, _SHORTEST = 1024, 64

# Name under which `divide` offers its result and denominator to
# `jax.checkpoint`.
QUOTIENT = "quotient"


def long_product(
    product: Callable[..., jax.Array], rows: jax.Array, columns: jax.Array
) -> jax.Array:
  """Returns a product of few rows with many terms, added up part by part.

  A sum of n terms one after the other is off by about sqrt(n) roundings, and
  that is how XLA adds up few rows on a CPU: 131,072 terms at once are ten times
  as far off as by the thousand, and take three times as long. Where n has no
  divisor of that size, all are added at once.

  Args:
    product: `einsum` of some precision.
    rows: `[..., R, n]`.
    columns: `[..., n, V]`.

  Returns:
    `[..., R, V]`.
  """
  count = rows.shape[-1]
  part = max(n for n in range(1, LONG + 1) if not count % n)
  if part < _SHORTEST or part == count:
    return product("...rn,...nv->...rv", rows, columns)
  rows = rows.reshape(*rows.shape[:-1], -1, part)
  columns = columns.reshape(*columns.shape[:-2], -1, part, columns.shape[-1])
  return product("...rmn,...mnv->...mrv", rows, columns).sum(axis=-3)


@jax.custom_jvp
def divide(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
  """Returns the quotient, exactly 0 with zero gradient where dividing by 0.

  Its derivative, d(n / d) = (dn - (n / d) dd) / d, is of the quotient: where
  that and the denominator are kept, a gradient need compute neither again.
  """
  zero = denominator == 0
  return jnp.where(zero, 0, numerator / jnp.where(zero, 1, denominator))


@divide.defjvp
def _divide_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
  numerator, denominator = primals
  denominator = ad_checkpoint.checkpoint_name(denominator, QUOTIENT)
  out = divide(numerator, denominator)
  out = ad_checkpoint.checkpoint_name(out, QUOTIENT)
  return out, divide(tangents[0] - out * tangents[1], denominator)


def identity_values(k: jax.Array) -> jax.Array:
  """Returns values that make a form return its own matrix.

  Args:
    k: keys `[B, S, G, K]`, or `[B, S, r, G, K]` where a token has several.

  Returns:
    `[B, S, G, S]`, or `[B, S, r, G, S r]`.
  """
  tokens = k.shape[1:-2]
  count = math.prod(tokens)
  identity = jnp.eye(count, dtype=accumulator(k.dtype))
  identity = identity.reshape(*tokens, 1, count)
  return jnp.broadcast_to(identity, (*k.shape[:-1], count))
