"""Batches as pure functions of (seed, step): nothing to save, nothing to skip.

A run that goes on from a checkpoint asks for the steps that are left, and gets
what an undisturbed run would have got.
"""

from typing import NamedTuple

import numpy as np

SEPARATOR = 0  # of the copy task; its other symbols are 1 to `symbols`


class Batch(NamedTuple):
  """Tokens `[B, T]` int32, and what to predict.

  Attributes:
    tokens: what the model sees.
    targets: `[B, T]`, the token after each.
    weights: `[B, T]` float32, what each prediction counts.
  """

  tokens: np.ndarray
  targets: np.ndarray
  weights: np.ndarray


def windows(
    stream: np.ndarray, batch: int, length: int, *, seed: int, step: int
) -> Batch:
  """Returns stretches of a text that begin anywhere.

  Args:
    stream: tokens of the text.
    batch: B.
    length: T.
    seed: of the run.
    step: of the run.

  Raises:
    ValueError: the text is shorter than T + 1 tokens.
  """
  _check(stream, length)
  drawn = np.random.default_rng([seed, step, 0x7E47])
  starts = drawn.integers(0, len(stream) - length, size=batch)
  return _stretches(stream, starts, length)


def consecutive(stream: np.ndarray, count: int, length: int) -> Batch:
  """Returns stretches at equal distances through a text, always the same.

  Args:
    stream: tokens of the text.
    count: B; fewer where the text is too short for so many.
    length: T.

  Raises:
    ValueError: the text is shorter than T + 1 tokens.
  """
  _check(stream, length)
  count = min(count, (len(stream) - 1) // length)
  starts = np.linspace(0, len(stream) - length - 1, count).astype(int)
  return _stretches(stream, starts, length)


def copies(
    batch: int, length: int, symbols: int = 10, *, seed: int, step: int
) -> Batch:
  """Returns sequences 0 w 0 w of random words w (2006.16236, section 4.1).

  A word has from T / 4 to T / 2 - 2 symbols, as the authors' code draws them,
  each number with the same chance; what follows is filled with separators. Only
  the second w counts.

  Args:
    batch: B.
    length: T, 4 or more; one token more is drawn, the last to predict.
    symbols: how many there are, beside the separator.
    seed: of the run.
    step: of the run.

  Raises:
    ValueError: no room for a word, or no symbols.
  """
  if length < 4:
    raise ValueError(f"length: expected 4 or more for 0 w 0 w, got {length}")
  if symbols < 1:
    raise ValueError(f"symbols: expected 1 or more, got {symbols}")
  drawn = np.random.default_rng([seed, step, 0xC0B1])
  least = length // 4
  sizes = drawn.integers(
      least, max(least + 1, (length - 1) // 2), size=(batch, 1)
  )
  words = drawn.integers(1, symbols + 1, size=(batch, length), dtype=np.int32)
  place = np.arange(length + 1)[None]
  # 0 at 0 and n + 1; the symbol at place p is the word's at (p - 1) mod (n + 1)
  within = (place - 1) % (sizes + 1)
  inside = (place > 0) & (within < sizes) & (place < 2 * sizes + 2)
  taken = np.take_along_axis(words, np.minimum(within, length - 1), axis=1)
  whole = np.where(inside, taken, SEPARATOR).astype(np.int32)
  second = (place > sizes + 1) & (place < 2 * sizes + 2)
  weights = second[:, 1:].astype(np.float32)
  return Batch(whole[:, :-1], whole[:, 1:], weights)


def _stretches(stream: np.ndarray, starts: np.ndarray, length: int) -> Batch:
  rows = np.stack([stream[i : i + length + 1] for i in starts])
  rows = rows.astype(np.int32)
  weights = np.ones((len(rows), length), np.float32)
  return Batch(rows[:, :-1], rows[:, 1:], weights)


def _check(stream: np.ndarray, length: int) -> None:
  if length < 1:
    raise ValueError(f"length: expected 1 or more, got {length}")
  if len(stream) <= length:
    raise ValueError(
        f"corpus: expected more than {length} tokens, the length of a context,"
        f" got {len(stream)}"
    )
