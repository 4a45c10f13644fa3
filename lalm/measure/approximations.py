"""What stands in for softmax, and what its budget buys.

| approximation           | its budget                               |
|-------------------------|------------------------------------------|
| performer               | positive features, w at right angles     |
| performer_independent   | positive features, w independent         |
| performer_hyperbolic    | pairs of hyperbolic features, likewise   |
| performer_trigonometric | pairs of a sine and a cosine, likewise   |
| linformer               | means of segments of keys and of values  |
| linformer_gaussian      | rows of a normal projection of them      |
| nystromformer           | landmarks                                |
| window                  | tokens seen to the left, and right       |
| lsh                     | tokens of its bucket seen so             |

Linformer learns its projections. Means of segments are those it names that need
no training (Wang et al. 2020, arXiv 2006.04768, section 4); the normal ones,
of variance 1 / P and the same for keys and values, are those of its theorem.

One hash of a token serves its query and its key, so they are the same for lsh,
as in the Reformer: the keys. Its buckets are n / W, an even number, or one
where that is less than two.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import catalogue
from lalm.attention import contract
from lalm.attention import features
from lalm.attention import linear
from lalm.attention import linformer
from lalm.attention import local
from lalm.attention import nystromformer
from lalm.attention import window


class Approximation(NamedTuple):
  """A way to compute about what softmax attention does.

  Attributes:
    forms: the one it is computed by, name -> function.
    own: K, n -> the budget where none is given.
    drawn: key, keys `[B, T, H, K]`, budget -> keywords of the form, arrays.
    sizes: budget -> its other keywords.
    causal: whether it can be causal.
    kind: of random features, "" without any.
    orthogonal: whether they are at right angles.
    shared: whether queries are the keys.
  """

  forms: Mapping[str, contract.Form]
  own: Callable[[int, int], int]
  drawn: Callable[..., dict[str, Any]] = lambda key, k, budget: {}
  sizes: Callable[[int], dict[str, int]] = lambda budget: {}
  causal: bool = True
  kind: str = ""
  orthogonal: bool = False
  shared: bool = False

  @property
  def featured(self) -> tuple[str, ...]:
    """The forms swept unless others are asked for: its one."""
    return tuple(self.forms)

  @property
  def form(self) -> contract.Form:
    """What it is computed by."""
    (form,) = self.forms.values()
    return form


def _performer(kind: str, orthogonal: bool = False) -> Approximation:
  def drawn(key: jax.Array, k: jax.Array, budget: int) -> dict[str, Any]:
    width = k.shape[-1]
    return {
        "feature_map": features.favor(
            key, width, budget, kind=kind, orthogonal=orthogonal
        )
    }

  return Approximation(
      {"chunkwise": linear.chunkwise},
      lambda width, length: catalogue.get("performer").features(width),
      drawn,
      kind=kind,
      orthogonal=orthogonal,
  )


def _linformer(projection: Callable[..., jax.Array]) -> Approximation:
  def drawn(key: jax.Array, k: jax.Array, budget: int) -> dict[str, Any]:
    if budget > k.shape[1]:  # before a matrix of that size is made
      raise ValueError(
          f"budget: expected at most {k.shape[1]} projected keys, as many as"
          f" there are tokens, got {budget}"
      )
    both = projection(key, budget, k.shape[1])
    return {"key_projection": both, "value_projection": both}

  return Approximation(
      {"blockwise": linformer.blockwise},
      lambda width, length: linformer.projected(length),
      drawn,
      causal=False,
  )


def means(key: Any, count: int, length: int) -> jax.Array:
  """Returns the matrix `[P, S]` of means of segments, the longer ones first.

  Args:
    key: of nothing: it is not random.
    count: P; from S on, tokens stand alone and the rest of the rows is zero.
    length: S.
  """
  del key
  segment = np.empty(length, int)
  for index, tokens in enumerate(np.array_split(np.arange(length), count)):
    segment[tokens] = index
  of = np.arange(count)[:, None] == segment
  return jnp.asarray(of / np.maximum(of.sum(axis=1, keepdims=True), 1), "f4")


def gaussian(key: jax.Array, count: int, length: int) -> jax.Array:
  """Returns a normal matrix `[P, S]` of variance 1 / P.

  Args:
    key: a `jax.random.key`.
    count: P.
    length: S.
  """
  return jax.random.normal(key, (count, length)) * count**-0.5


def bucket_count(length: int, window: int) -> int:
  """Returns how many buckets hold W tokens each, even, or 1.

  Args:
    length: tokens.
    window: W.
  """
  return max(1, 2 * (length // (2 * window)))


def _hashes(key: jax.Array, k: jax.Array, budget: int) -> dict[str, jax.Array]:
  count = bucket_count(k.shape[1], budget)
  if count == 1:
    return {"buckets": jnp.zeros((*k.shape[:3], 1), jnp.int32)}
  return {"buckets": local.buckets(key, k, count)}


_BY_NAME = {
    "performer": _performer("positive", orthogonal=True),
    "performer_independent": _performer("positive"),
    "performer_hyperbolic": _performer("hyperbolic"),
    "performer_trigonometric": _performer("trigonometric"),
    "linformer": _linformer(means),
    "linformer_gaussian": _linformer(gaussian),
    "nystromformer": Approximation(
        {"blockwise": nystromformer.blockwise},
        lambda width, length: min(nystromformer.LANDMARKS, length),
        sizes=lambda budget: {"landmarks": budget},
        causal=False,
    ),
    "window": Approximation(
        {"chunkwise": window.chunkwise},
        lambda width, length: window.WINDOW,
        sizes=lambda budget: {"window": budget},
    ),
    "lsh": Approximation(
        {"chunkwise": local.chunkwise},
        lambda width, length: local.WINDOW,
        _hashes,
        sizes=lambda budget: {"window": budget},
        shared=True,
    ),
}


def names() -> tuple[str, ...]:
  """Returns the names of all approximations."""
  return tuple(_BY_NAME)


def get(name: str) -> Approximation:
  """Returns an approximation by its name.

  Raises:
    ValueError: there is no such approximation.
  """
  if name not in _BY_NAME:
    known = ", ".join(_BY_NAME)
    raise ValueError(f"mechanism: expected one of {known}, got {name!r}")
  return _BY_NAME[name]
