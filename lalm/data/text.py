"""Queries, keys and values of a real text, byte by byte.

Each byte and the three before it are embedded and summed, a position signal is
added, and seeded projections give q, k and v, as a first layer with random
weights would. An embedding followed by a projection is one table of 256 rows,
so a token costs a few look-ups, whatever the width. Entries have unit variance
on average: logits q k^T / sqrt(K) are of order one.
"""

import functools
import hashlib
import os
import pathlib
import sysconfig
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from lalm import packages

STANDARD_LIBRARY = ""  # as a corpus: the sources of Python's standard library
NEWS = "news"  # as a corpus: 300 news stories of Lee et al. 2005, with gensim
NORMAL = "normal"  # as a corpus: Gaussian queries, keys and values, no text

_MODEL = 256  # width of the embedding
_WEIGHTS = (1.0, 0.7, 0.5, 0.35)  # of a byte and of those before it
_POSITION = 0.5  # root mean square of the position signal
_PERIODS = (4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0)  # tokens
_BLOCK = 512  # tokens whose rows stay in the cache
_STREAMS = 3  # of Gaussian numbers that are kept: those of q, k and v
_LARGEST, _SHARE = 2**30, 1 / 32  # bytes of each, and of the memory
_STORIES = pathlib.Path("test", "test_data", "lee_background.cor")
_SKIPPED = {"site-packages", "dist-packages", "__pycache__"}

# Sweeps ask for the same numbers at many lengths, and drawing them takes the
# host longer than a device takes to use them: (seed, name, columns) -> rows.
_drawn: dict[tuple[int, str, int], np.ndarray] = {}


class Inputs(NamedTuple):
  """q [B, T, H, K], k [B, T, Hk, K] and v [B, T, Hk, V], NumPy arrays."""

  q: np.ndarray
  k: np.ndarray
  v: np.ndarray


def corpus_bytes(corpus: str, count: int, seed: int = 0) -> np.ndarray:
  """Reads a stretch of a corpus.

  Args:
    corpus: a text file, or a folder whose files are joined in the order of
      their paths; "" stands for the sources of Python's standard library,
      "news" for English stories (Lee, Pincombe and Welsh 2005) where the
      package gensim is, which is looked up and never imported.
    count: bytes wanted. A shorter corpus is repeated.
    seed: where in the corpus the stretch starts.

  Returns:
    [count] bytes as uint8.

  Raises:
    ValueError: the corpus does not exist, cannot be read or holds no bytes.
  """
  if count < 1:
    raise ValueError(f"count: expected at least 1 byte, got {count}")
  data = _gather(corpus, count)
  start = _generator(seed, "start").integers(len(data))
  return np.resize(np.roll(data, -start), count)


def digest(corpus: str, count: int) -> str:
  """Returns what tells texts apart: a hash of the bytes that may be read.

  Args:
    corpus: as in `corpus_bytes`, or "normal", which is the same for ever.
    count: bytes wanted.

  Raises:
    ValueError: the corpus does not exist, cannot be read or holds no bytes.
  """
  if corpus == NORMAL:
    return NORMAL
  return hashlib.sha256(_gather(corpus, count).tobytes()).hexdigest()


def files(corpus: str) -> list[pathlib.Path]:
  """The files of a corpus in an order that depends on their names only."""
  if corpus == STANDARD_LIBRARY:
    root = pathlib.Path(sysconfig.get_path("stdlib"))
    # The modules at the top are in every installation; folders of tests and
    # of third parties are not.
    return sorted(root.glob("*.py"))
  if corpus == NEWS:
    return [_stories()]
  root = pathlib.Path(corpus).expanduser()
  if root.is_file():
    return [root]
  if not root.is_dir():
    raise ValueError(f"corpus: expected a file or folder, got {corpus!r}")

  def read(path: pathlib.Path) -> bool:
    parts = path.relative_to(root).parts
    hidden = any(part.startswith(".") for part in parts)
    return not hidden and not _SKIPPED.intersection(parts) and path.is_file()

  return sorted(path for path in root.rglob("*") if read(path))


def _stories() -> pathlib.Path:
  folder = packages.folder("gensim")
  if folder is None or not (folder / _STORIES).is_file():
    raise ValueError(
        f"corpus: expected {_STORIES.name} of the package gensim, got none;"
        " python3 -m pip install --no-deps gensim"
    )
  return folder / _STORIES


def _gather(corpus: str, count: int) -> np.ndarray:
  """All bytes of a corpus, or as many of its first as are surely enough."""
  parts, total = [], 0
  for path in files(corpus):
    try:
      with path.open("rb") as file:
        part = file.read(2 * count - total)
    except OSError as error:
      raise ValueError(
          f"corpus: cannot read {path}: {error.strerror}"
      ) from error
    parts.append(part)
    total += len(part)
    if total >= 2 * count:
      break
  if not total:
    raise ValueError(f"corpus: expected some bytes, got none in {corpus!r}")
  return np.frombuffer(b"".join(parts), np.uint8)


def _generator(seed: int, name: str) -> np.random.Generator:
  """A stream of random numbers of its own for each name."""
  digest = hashlib.sha256(name.encode()).digest()
  return np.random.default_rng([seed, *digest[:8]])


def projected(
    corpus: str,
    seed: int,
    *,
    batch: int,
    length: int,
    heads: int,
    width: int,
    kv_heads: int | None = None,
    value_width: int | None = None,
    dtype: Any = "float32",
) -> Inputs:
  """Queries, keys and values of a corpus.

  Args:
    corpus: as in `corpus_bytes`, or "normal" for Gaussian arrays.
    seed: of the stretch of text, the embedding and the projections.
    batch: sequences, consecutive in the text.
    length: tokens of each.
    heads: of the queries.
    width: of queries and keys.
    kv_heads: of keys and values; `heads` if None.
    value_width: of the values; `width` if None.
    dtype: of the arrays.

  Returns:
    The three arrays, the same for the same arguments (and text); Gaussian ones
    are kept for the next call and cannot be written to.

  Raises:
    ValueError: an extent is below 1, or the corpus cannot be read.
  """
  kv_heads = kv_heads or heads
  value_width = value_width or width
  extents = dict(batch=batch, length=length, heads=heads, width=width)
  for name, extent in extents.items():
    if extent < 1:
      raise ValueError(f"{name}: expected at least 1, got {extent}")
  shapes = {
      "q": (heads, width),
      "k": (kv_heads, width),
      "v": (kv_heads, value_width),
  }
  if corpus == NORMAL:
    flat = [
        _normal(seed, name, batch * length, s) for name, s in shapes.items()
    ]
  else:
    text = corpus_bytes(corpus, batch * length, seed)
    text = text.reshape(batch, length)
    flat = [_projection(text, seed, name, s) for name, s in shapes.items()]
  kind = jnp.dtype(dtype)
  return Inputs(
      *(
          array.reshape(batch, length, *shape).astype(kind, copy=False)
          for array, shape in zip(flat, shapes.values())
      )
  )


def _normal(
    seed: int, name: str, tokens: int, shape: tuple[int, int]
) -> np.ndarray:
  """The first rows of a stream of numbers, `[tokens, columns]`, read-only."""
  columns = shape[0] * shape[1]
  kept = _drawn.get((seed, name, columns))
  if kept is None or len(kept) < tokens:
    draw = _generator(seed, name).standard_normal
    kept = draw((tokens, columns), np.float32)
    kept.flags.writeable = False
    _keep((seed, name, columns), kept)
  # Numbers are drawn row by row: fewer rows are the first of more.
  return kept[:tokens]


def _keep(stream: tuple[int, str, int], rows: np.ndarray) -> None:
  """Keeps the latest few streams, if they are a small part of the memory."""
  _drawn.pop(stream, None)
  if rows.nbytes <= _kept_bytes():
    _drawn[stream] = rows
  while len(_drawn) > _STREAMS:
    del _drawn[next(iter(_drawn))]


@functools.cache
def _kept_bytes() -> int:
  """The most bytes of a stream that is kept."""
  try:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
  except (ValueError, OSError):
    return 0
  return min(_LARGEST, int(memory * _SHARE))


def _projection(
    text: np.ndarray, seed: int, name: str, shape: tuple[int, int]
) -> np.ndarray:
  """Projects embedded bytes [B, T] to [B, T, H K] (or H V) in float32."""
  directions, tables = _tables(seed, name, shape[0] * shape[1])
  waves = _waves(text.shape[1])
  result = np.empty((*text.shape, directions.shape[1]), np.float32)
  for sequence, symbols in zip(result, text):
    np.matmul(waves, directions, out=sequence)
    for start in range(0, len(symbols), _BLOCK):
      stop = min(start + _BLOCK, len(symbols))
      block = sequence[start:stop]
      for back, table in enumerate(tables):
        first = max(start, back)  # the first token has no byte before it
        block[first - start :] += table[symbols[first - back : stop - back]]
  return result


@functools.lru_cache(maxsize=3)
def _tables(
    seed: int, name: str, columns: int
) -> tuple[np.ndarray, list[np.ndarray]]:
  """Projected directions of the waves, and embeddings [256, columns]."""
  weights = _generator(seed, f"{name} weights")
  projection = weights.standard_normal((_MODEL, columns), np.float32)
  scale = (_MODEL * (np.square(_WEIGHTS).sum() + _POSITION**2)) ** -0.5
  projection *= np.float32(scale)
  # The embeddings are those of the layer: the same for q, k and v.
  embedding = _generator(seed, "embedding").standard_normal
  directions = embedding((2 * len(_PERIODS), _MODEL), np.float32)
  tables = [
      np.float32(weight) * embedding((256, _MODEL), np.float32) @ projection
      for weight in _WEIGHTS
  ]
  return directions @ projection, tables


def _waves(length: int) -> np.ndarray:
  """The position signal, [T, P]: sines and cosines of several periods."""
  t = np.arange(length, dtype=np.float32)[:, None]
  angles = 2 * np.pi * t / np.asarray(_PERIODS, np.float32)
  waves = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
  return waves * np.float32(_POSITION * len(_PERIODS) ** -0.5)
