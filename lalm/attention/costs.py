"""What each form costs, from its mathematics: products and bytes.

Products are floating-point operations of matrix products, 2 m n k each, as
executed: padding to whole chunks is counted, tiles that are skipped are not.
Bytes are the temporaries and outputs of a call beyond its inputs.

A gradient does each product three times (once forward, once for either
factor) and whatever it recomputes once more.
"""

from typing import NamedTuple

from lalm.attention import banded
from lalm.attention import local
from lalm.attention import sums
from lalm.attention import tiling
from lalm.attention import window as ring


class Cost(NamedTuple):
  """Closed-form cost of one call: products (operations) and bytes."""

  products: int
  bytes: int


class Sizes(NamedTuple):
  """The sizes a cost depends on.

  Attributes:
    batch: B.
    length: T = S.
    heads: H = G.
    width: K.
    value_width: V.
    causal: as in the form.
    chunk: C, or None for the form's own.
    itemsize: bytes of a number of q, k and v.
    gradient: whether it is of a call and its gradients.
    features: F.
    maps: multiplications that make the features of one query or key.
  """

  batch: int
  length: int
  heads: int
  width: int
  value_width: int
  causal: bool
  chunk: int | None
  itemsize: int
  gradient: bool
  features: int
  maps: int = 0

  @property
  def lanes(self) -> int:
    """Heads in all: B H."""
    return self.batch * self.heads

  @property
  def result(self) -> int:
    """Bytes of the outputs: out, and the gradients of q, k and v."""
    K, V = self.width, self.value_width
    widths = V + (2 * K + V if self.gradient else 0)
    return self.lanes * self.length * widths * self.itemsize

  @property
  def wide(self) -> int:
    """Bytes of one number in the accumulator's dtype."""
    return max(4, self.itemsize)


def softmax_parallel(s: Sizes) -> Cost:
  """Scores and output over the full square; scores and weights are stored."""
  square = s.lanes * s.length**2
  times = 3 if s.gradient else 1
  arrays = 4 if s.gradient else 2
  products = 2 * square * (s.width + s.value_width) * times
  return Cost(products, arrays * square * s.wide + s.result)


def softmax_blockwise(s: Sizes) -> Cost:
  """Tiles: 2 products forward, 5 backward; linear memory."""
  cost = tiled(s, s.length, s.length, s.causal)
  return cost._replace(bytes=cost.bytes + s.result)


def tiled(s: Sizes, queries: int, keys: int, triangular: bool) -> Cost:
  """Softmax attention by tiles, without its outputs.

  Args:
    s: all other sizes.
    queries: T.
    keys: S.
    triangular: whether tiles of the future are skipped.
  """
  K, V = s.width, s.value_width
  sizes = tiling.choose(queries, keys, s.chunk, triangular)
  more = sizes.padding(queries, keys)
  area = sizes.area(queries + more[0], keys + more[1])
  widths = K + V + (3 * K + 2 * V if s.gradient else 0)
  # Heads-first copies of q, k, v and out; as many cotangents, and L.
  arrays = (2 * K + 2 * V) * (2 if s.gradient else 1) + 1
  tile = s.wide * 3 * sizes.queries * sizes.keys
  longer = max(queries + more[0], keys + more[1])
  temporaries = s.lanes * longer * arrays * s.wide + tile
  return Cost(2 * s.lanes * area * widths, temporaries)


def softmax_step(s: Sizes) -> Cost:
  """One token against a cache of `length` tokens, which is rewritten.

  Its gradient is of the token: of the cache only the query's is made.
  """
  K, V = s.width, s.value_width
  times = 2 if s.gradient else 1
  products = 2 * s.lanes * s.length * (K + V) * times
  cache = s.lanes * s.length * (K + V) * s.itemsize
  scores = 2 * s.lanes * s.length * s.wide
  return Cost(products, cache + scores)


def window_parallel(s: Sizes, window: int = ring.WINDOW) -> Cost:
  """The full square, as softmax attention."""
  del window
  return softmax_parallel(s)


def window_chunkwise(s: Sizes, window: int = ring.WINDOW) -> Cost:
  """Scores of each chunk with the window before it; a ring a chunk is kept."""
  chunk = s.chunk or min(ring.CHUNK, window)
  return banded_chunks(s, s.lanes, chunk, window)


def lsh_chunkwise(s: Sizes, window: int = local.WINDOW) -> Cost:
  """A window over sorted tokens, for each round."""
  window = min(window, s.length)
  chunk = s.chunk or min(local.CHUNK, window)
  return banded_chunks(s, s.lanes * local.ROUNDS, chunk, window)


def banded_chunks(s: Sizes, lanes: int, chunk: int, window: int) -> Cost:
  """Scores of each chunk with the keys that are handed to it (`banded`)."""
  K, V = s.width, s.value_width
  chunk = min(chunk, s.length)
  late, span = banded.sizes(chunk, window, s.causal)
  length = -(-(s.length + late) // chunk) * chunk
  # In a gradient scores are made again, weighted sums are not.
  widths = 4 * K + 3 * V if s.gradient else K + V
  scores = 3 * chunk * (span + chunk)
  kept = (length // chunk * span * (K + V) + length * V) if s.gradient else 0
  products = 2 * lanes * length * (span + chunk) * widths
  return Cost(products, lanes * (scores + kept) * s.wide + s.result)


def window_step(s: Sizes, window: int = ring.WINDOW) -> Cost:
  """One token against a ring, which is rewritten."""
  return softmax_step(s._replace(length=window))


def linear_parallel(s: Sizes, normalize: bool = True) -> Cost:
  """Scores and output over the full square; the scores are stored."""
  del normalize  # the normaliser is a sum of scores
  square = s.lanes * s.length**2
  times = 3 if s.gradient else 1
  products = 2 * square * (s.features + s.value_width) * times
  products += _maps(s, s.length, 2 if s.gradient else 1)
  return Cost(products, 3 * square * s.wide + s.result)


def linear_chunkwise(s: Sizes, normalize: bool = True) -> Cost:
  """Per token C (F + V) within its chunk, 2 F V + 2 F for the state."""
  chunk = min(s.chunk or sums.default_chunk(s.causal), s.length)
  F, V = s.features, s.value_width
  length = -(-s.length // chunk) * chunk
  # In a gradient each product is made three times, but scores are recomputed,
  # because the derivative of values needs them.
  times, again = (3, 4) if s.gradient else (1, 1)
  widths = times * 2 * F * V + _normaliser(s, normalize)
  widths += chunk * (again * F + times * V) if s.causal else 0
  products = 2 * s.lanes * length * widths + _maps(s, length, times)
  return Cost(products, _linear_bytes(s, length, chunk))


def linear_recurrent(s: Sizes, normalize: bool = True) -> Cost:
  """Per token 2 F V + 2 F."""
  F, V = s.features, s.value_width
  chunk = min(sums.CHUNK, s.length)
  length = -(-s.length // chunk) * chunk
  times = 3 if s.gradient else 1
  again = 1 if s.gradient and s.causal else 0
  widths = (2 * times + again) * F * V + _normaliser(s, normalize, again)
  products = 2 * s.lanes * length * widths
  products += _maps(s, length, times)
  inner = chunk * F * V * s.lanes * s.wide if s.gradient else 0
  return Cost(products, _linear_bytes(s, length, chunk) + inner)


def linear_step(s: Sizes, normalize: bool = True) -> Cost:
  """One token: 2 F V + 2 F; the state is rewritten, unread or not."""
  F, V = s.features, s.value_width
  times = 3 if s.gradient else 1
  widths = times * 2 * F * V + (_normaliser(s, normalize) or F)
  products = 2 * s.lanes * widths
  products += _maps(s, 1, 2 if s.gradient else 1)
  return Cost(products, s.lanes * (F * V + F + V) * s.wide)


def _normaliser(s: Sizes, normalize: bool, again: int = 0) -> int:
  """Products that read it, and that write it: with ones, which are constant."""
  if not normalize:
    return 0
  return s.features * ((3 + 2 if s.gradient else 2) + again)


def _maps(s: Sizes, length: int, times: int) -> int:
  """Products of the feature map of q and k: of a projection nobody learns."""
  return 2 * s.lanes * length * 2 * s.maps * times


def _linear_bytes(s: Sizes, length: int, chunk: int) -> int:
  """Outputs, scores of a chunk; in a gradient a state a chunk and out."""
  F, V = s.features, s.value_width
  scores = 2 * chunk**2 * s.lanes * s.wide
  kept = 0
  if s.gradient:
    states = (length // chunk) * F * (V + 1)
    kept = s.lanes * (states + length * V) * s.wide
  return scores + s.result + kept
