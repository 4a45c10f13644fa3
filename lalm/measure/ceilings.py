"""What this machine can do at best, measured by the worker that uses it.

  products_per_second          one large square product
  batched_products_per_second  512 products [256, 64] x [64, 256], the shape of
                               attention's blocks
  bytes_per_second             read and written by scaling a large array

Each is the best of several runs, for a ceiling is what nothing disturbed. Large
operands are found by doubling until a run is long enough to time. Products are
as precise as those of attention: of float32 in float32.
"""

import functools
import time
from typing import Any, Callable

import jax
import jax.numpy as jnp

from lalm.attention import contract

_LONG = 0.01  # seconds; a run of this length is timed well
_BUDGET = 0.2  # seconds for each ceiling, beside compiling
_FEWEST = 3  # runs
_SIZES = tuple(2**i for i in range(11, 15))  # rows of a square product
_STREAMS = tuple(2**i for i in range(24, 31))  # elements of a streamed array
# An accelerator is done with fewer bytes before a clock can tell.
_LEAST = 2**28
_BATCH = (512, 256, 64)  # products, rows and columns, contraction


def measure(dtype: str = "float32") -> dict[str, float]:
  """Measures the ceilings of the default device for one dtype."""
  return {
      "products_per_second": products(dtype),
      "batched_products_per_second": batched_products(dtype),
      "bytes_per_second": bandwidth(dtype),
  }


def products(dtype: str = "float32") -> float:
  """Multiplications and additions per second of a large square product."""
  precision = contract.precision(dtype)
  multiply = jax.jit(functools.partial(jnp.matmul, precision=precision))
  for size in _SIZES:
    x = _drawn((size, size), dtype)
    if _seconds(functools.partial(multiply, x, x)) >= _LONG:
      break
  return 2 * size**3 / _best(functools.partial(multiply, x, x))


def batched_products(dtype: str = "float32") -> float:
  """The same of many small products at once."""
  count, rows, inner = _BATCH
  x = _drawn((count, rows, inner), dtype)
  product = functools.partial(jnp.einsum, precision=contract.precision(dtype))
  multiply = jax.jit(lambda x: product("bik,bjk->bij", x, x))
  _seconds(functools.partial(multiply, x))
  return 2 * count * rows * rows * inner / _best(functools.partial(multiply, x))


def _drawn(shape: tuple[int, ...], dtype: str) -> jax.Array:
  """Random numbers: a GPU multiplies ones faster, for they cost less power."""
  return jax.random.normal(jax.random.key(0), shape, dtype)


def bandwidth(dtype: str = "float32") -> float:
  """Bytes read and written per second by scaling an array in its place."""
  scale = jax.jit(lambda x: x * 1.5, donate_argnums=0)
  sizes, itemsize = _STREAMS, jnp.dtype(dtype).itemsize
  if jax.default_backend() != "cpu":
    sizes = tuple(size for size in sizes if size * itemsize >= _LEAST)
  for size in sizes:
    holder = [jnp.zeros(size, dtype)]

    def step() -> jax.Array:
      holder[0] = scale(holder[0])
      return holder[0]

    if _seconds(step) >= _LONG:
      break
  return 2 * holder[0].nbytes / _best(step)


def _seconds(call: Callable[[], Any]) -> float:
  """Seconds of the second of two calls; the first one compiles."""
  jax.block_until_ready(call())
  start = time.perf_counter()
  jax.block_until_ready(call())
  return time.perf_counter() - start


def _best(call: Callable[[], Any]) -> float:
  """The fewest seconds of a call, within the budget of a ceiling."""
  end = time.perf_counter() + _BUDGET
  seconds: list[float] = []
  while len(seconds) < _FEWEST or time.perf_counter() < end:
    start = time.perf_counter()
    jax.block_until_ready(call())
    seconds.append(time.perf_counter() - start)
  return min(seconds)
