"""Rows of an output beside those of the definition, drawn by a seed."""

import types
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

ROWS = 64  # query rows recomputed
_HEADS = 4  # (batch, head) pairs the rows are spread over
_ENTRIES = 2**24  # rows x keys of a definition evaluated at once: 128 MiB

# The definition's rows: reference(q, k, v, *gates, rows, causal=) of one head.
Reference = Callable[..., np.ndarray]

LAYOUTS = types.MappingProxyType({"q": "BTHK", "k": "BTGK", "v": "BTGV"})


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
  """|| found - expected || / || expected ||, absolute where the latter is 0."""
  difference = float(np.linalg.norm(np.ravel(found - expected)))
  size = float(np.linalg.norm(np.ravel(expected)))
  return difference / size if size else difference


class Sample(NamedTuple):
  """Rows of an output beside those of the definition.

  Late rows of a causal mechanism are averages of many values and small: beside
  the first ones an error in them would not be seen, so both are told apart. As
  rounding takes a larger share of late ones, the gate counts theirs by half.

  Attributes:
    pairs: batch and head, [P, 2].
    rows: their positions, ascending, [P, R].
    found: [P, R, V] float64.
    expected: [P, R, V] float64.
  """

  pairs: np.ndarray
  rows: np.ndarray
  found: np.ndarray
  expected: np.ndarray

  @property
  def early(self) -> float:
    """Relative error of the first half of the rows."""
    return self._of(slice(self._middle))

  @property
  def late(self) -> float:
    """Relative error of the others, 0 without any."""
    return self._of(slice(self._middle, None))

  @property
  def _middle(self) -> int:
    return (self.found.shape[1] + 1) // 2

  def _of(self, part: slice) -> float:
    return relative_rms(self.found[:, part], self.expected[:, part])


class Head(NamedTuple):
  """Where one query head and the key head it reads stand in each array."""

  batch: int
  head: int
  group: int

  def where(self, layout: str, tokens: slice = slice(None)) -> Any:
    """The index of the head's part of an array, "BTHK" for [B, T, H, K]."""
    at = {"B": self.batch, "H": self.head, "G": self.head // self.group}
    return tuple(
        at.get(axis, tokens if axis == "T" else slice(None)) for axis in layout
    )

  def part(
      self, array: np.ndarray, layout: str, tokens: slice = slice(None)
  ) -> np.ndarray:
    """The head's part in float64, if not whole: `[T, D]` of `[B, T, H, D]`."""
    part = array[self.where(layout, tokens)]
    return part if part.dtype.kind in "iu" else np.asarray(part, np.float64)


def draw_heads(generator: np.random.Generator, q: np.ndarray) -> np.ndarray:
  """Returns up to four different (batch, head) pairs, [P, 2]."""
  pairs = np.stack(
      np.meshgrid(np.arange(q.shape[0]), np.arange(q.shape[2])), axis=-1
  ).reshape(-1, 2)
  return generator.permutation(pairs)[:_HEADS]


def draw_rows(
    generator: np.random.Generator, length: int, count: int
) -> np.ndarray:
  """Returns sorted rows without repeats, the first and the last among them."""
  if length <= count:
    return np.arange(length)
  inner = generator.choice(length - 2, max(count - 2, 0), replace=False) + 1
  return np.sort(np.concatenate([[0, length - 1], inner]))


def definition(
    reference: Reference,
    inputs: Sequence[np.ndarray],
    rows: np.ndarray,
    causal: bool,
) -> np.ndarray:
  """Returns the definition's rows, a group at a time to bound the memory."""
  groups = -(-len(rows) * len(inputs[1]) // _ENTRIES)
  return np.concatenate(
      [
          np.asarray(reference(*inputs, part, causal=causal), np.float64)
          for part in np.array_split(rows, max(groups, 1))
      ]
  )


def sample(
    out: np.ndarray,
    inputs: Sequence[np.ndarray],
    reference: Reference,
    *,
    causal: bool,
    seed: int | Sequence[int],
    layouts: Mapping[str, str] = LAYOUTS,
    count: int = ROWS,
    rows: np.ndarray | None = None,
) -> Sample:
  """Draws rows of an output and evaluates the definition there.

  Args:
    out: [B, T, H, V], or [B, R, H, V] of `rows`.
    inputs: as in `check_forward`.
    reference: the definition's rows of one head.
    causal: whether query t sees the keys up to t only.
    seed: of the rows and heads.
    layouts: name -> letters of the axes of each of `inputs`.
    count: rows, shared by up to four heads.
    rows: as in `check_forward`; then none are drawn.
  """
  q, k = inputs[:2]
  generator = np.random.default_rng(seed)
  pairs, group = draw_heads(generator, q), q.shape[2] // k.shape[-2]
  if rows is not None:
    pairs = pairs[:1]
  positions, found, expected = [], [], []
  for batch, head in pairs:
    at = rows
    if at is None:
      at = draw_rows(generator, q.shape[1], count // len(pairs))
    where = Head(batch, head, group)
    single = [where.part(*both) for both in zip(inputs, layouts.values())]
    own = where.part(out, "BTHV")
    positions.append(at)
    found.append(own[at] if rows is None else own)
    expected.append(definition(reference, single, at, causal))
  return Sample(pairs, *map(np.stack, (positions, found, expected)))
