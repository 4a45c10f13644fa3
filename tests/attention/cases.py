"""The shapes and options that every form of every mechanism is tried on.

A case is one call (or two: `split` tokens first, the others from the state
that they left). Lengths are odd and chunks small, so that a sequence has
several chunks, a tail, and documents that begin inside a chunk, on its edge
and on the edge of the two calls. K != V and T != S wherever that is possible,
so that no two axes can be taken for each other.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import catalogue


@dataclasses.dataclass(frozen=True)
class Case:
  """One call of a form; `None` leaves an argument out of the call.

  `blocks` is for mechanisms whose chunks are made of blocks (`chunks`).
  `margin` keeps every input that far from 0, where feature maps have kinks
  that central differences must not straddle.
  """

  name: str
  length: int = 37
  keys: int | None = None
  batch: int = 2
  heads: int = 2
  kv_heads: int | None = None
  width: int = 6
  value_width: int = 5
  causal: bool = True
  packed: bool = False
  split: int = 0
  scale: float | None = None
  chunk: int | None = 8
  dtype: str = "float64"
  seed: int = 0
  margin: float = 0.0
  blocks: bool = False

  @property
  def sources(self) -> int:
    """S, the number of keys."""
    return self.length if self.keys is None else self.keys


class Inputs(NamedTuple):
  """Positional arrays, gates by name, and segment ids or None."""

  arrays: tuple[np.ndarray, ...]
  gates: dict[str, np.ndarray]
  segment_ids: np.ndarray | None


FEATURES = (
  Case("causal"),
  Case("full", causal=False),
  Case("causal, grouped heads", heads=4, kv_heads=2),
  Case("scaled", scale=0.7),
  Case("packed", packed=True),
  Case("full, packed", packed=True, causal=False),
  Case("packed, grouped heads", packed=True, heads=4, kv_heads=2, scale=0.3),
  Case("fewer queries than keys", length=21, keys=37, causal=False, heads=3,
       kv_heads=1, scale=0.7),
  Case("more queries than keys", length=37, keys=21, causal=False, heads=4,
       kv_heads=2),
  Case("two halves", split=19),
  Case("two halves on a chunk edge", split=16),
  Case("one token, then the others", split=1),
  Case("two halves, packed", split=19, packed=True),
  Case("two halves, packed, grouped heads", split=19, packed=True, heads=4,
       kv_heads=2, scale=0.3),
  Case("several blocks a chunk, packed", length=150, chunk=64, split=70,
       packed=True, heads=4, kv_heads=2, blocks=True, seed=5),
)  # fmt: skip

DERIVATIVES = (
  Case("causal, grouped heads", length=21, heads=4, kv_heads=2, scale=0.7,
       margin=0.1),
  Case("full, fewer queries than keys", length=13, keys=21, causal=False,
       heads=4, kv_heads=2, margin=0.1),
  Case("two halves, packed", length=21, split=11, packed=True, margin=0.1),
  Case("several blocks a chunk", length=71, chunk=64, packed=True, heads=1,
       batch=1, margin=0.1, blocks=True, seed=5),
)  # fmt: skip

LENGTHS = (1, 2, 63, 65, 127, 129, 257, 1000)

ODD = tuple(
    Case(
        f"{'causal' if causal else 'full'}, length {length}",
        length=length,
        batch=1,
        width=8,
        value_width=5,
        causal=causal,
        chunk=None,
        dtype="float32",
    )
    for causal, lengths in ((True, LENGTHS), (False, (1, 65, 257)))
    for length in lengths
)

PRECISIONS = tuple(
    Case(
        f"{dtype}, {'causal' if causal else 'full'}, length {length}",
        length=length,
        batch=1,
        causal=causal,
        chunk=None,
        width=16,
        value_width=12,
        dtype=dtype,
    )
    for dtype in ("bfloat16", "float16", "float32", "float64")
    for causal, length in ((True, 1001), (False, 129))
)


def segment_ids(
    batch: int, length: int, split: int, seed: int = 0
) -> np.ndarray:
  """Non-decreasing ids, none zero, with gaps; documents of length 1 too.

  Row 0 has a document that spans the split, row 1 one that begins there. A
  seed other than 0 begins documents anywhere else too.
  """
  begins = np.zeros((batch, length), bool)
  for place in (3, 8, 16, 17, 29):
    begins[0::2, place : place + 1] = True
  for place in (split, 7, 25):
    begins[1::2, place : place + 1] = True
  if seed:
    begins |= np.random.default_rng(seed).random(begins.shape) < 0.07
  if split:
    begins[0::2, split] = False
  return (2 + 3 * np.cumsum(begins, axis=1)).astype(np.int32)


@functools.cache
def _takes_gates(name: str) -> bool:
  shape = dict(batch=1, length=2, heads=1, width=2, value_width=2)
  make = functools.partial(catalogue.get(name).inputs, **shape, dtype="float32")
  return bool(jax.eval_shape(make, jax.random.key(0))[1])


def _random(name: str, case: Case, length: int) -> Any:
  """`(q, k, v), gates`: the mechanism's own, or normal where it has no gates.

  Compiling a generator for each of our many shapes would take most of the time
  of the suite.
  """
  if _takes_gates(name):
    return catalogue.get(name).inputs(
      jax.random.key(case.seed), batch=case.batch, length=length,
      heads=case.heads, width=case.width, value_width=case.value_width,
      dtype=case.dtype,
    )  # fmt: skip
  normal = np.random.default_rng(case.seed).standard_normal
  shape = (case.batch, length, case.heads)
  widths = (case.width, case.width, case.value_width)
  arrays = (normal((*shape, width)) for width in widths)
  return tuple(x.astype(jnp.dtype(case.dtype)) for x in arrays), {}


def moving(name: str, gates: dict[str, Any]) -> dict[str, Any]:
  """The gates that can be differentiated; `subject.small` has the others."""
  known = catalogue.get(name).gates
  return {key: x for key, x in gates.items() if not known[key].whole}


def make(name: str, case: Case) -> Inputs:
  """Valid random inputs of a mechanism, rounded to the dtype of the case."""
  kv_heads = case.kv_heads or case.heads
  (q, k, v), gates = _random(name, case, max(case.length, case.sources))
  layouts = catalogue.get(name).layouts
  q = q[:, : case.length]
  k, v = (x[:, : case.sources, ..., :kv_heads, :] for x in (k, v))
  sizes = {"T": case.length, "S": case.sources, "G": kv_heads}
  gates = {
      key: x[tuple(slice(sizes.get(letter)) for letter in layouts[key])]
      for key, x in moving(name, gates).items()
  }
  ids = None
  if case.packed:
    ids = segment_ids(case.batch, case.length, case.split, case.seed)
  arrays = tuple(np.asarray(x) for x in (q, k, v))
  if case.margin:
    arrays = tuple(x + case.margin * np.sign(x) for x in arrays)
  if case.margin and name == "mlstm":
    # Its kink is where |n . q| = 1: all products are positive and beyond it.
    arrays = (np.abs(arrays[0]), np.abs(arrays[1]), arrays[2])
    gates = {**gates, "log_input": gates["log_input"] + 6}
  return Inputs(arrays, {g: np.asarray(x) for g, x in gates.items()}, ids)
