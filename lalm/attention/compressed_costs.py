"""What attention to few keys made of all costs: Linformer, Nystromformer.

As in `costs`: products, 2 m n k each, and bytes beyond the inputs. In a
gradient each product is made three times; those of tiles as in `costs.tiled`.
"""

from lalm.attention import costs
from lalm.attention import linformer
from lalm.attention import nystromformer


def linformer_parallel(s: costs.Sizes) -> costs.Cost:
  """S keys and values mixed to P; T P scores."""
  few = linformer.projected(s.length)
  pairs = s.lanes * s.length * few
  scores = pairs * s.wide * (4 if s.gradient else 2)
  attended = 2 * pairs * (s.width + s.value_width) * _times(s)
  mixed = _mixed(s, few)
  return costs.Cost(attended + mixed.products, scores + mixed.bytes)


def linformer_blockwise(s: costs.Sizes) -> costs.Cost:
  """S keys and values mixed to P; tiles of scores."""
  few = linformer.projected(s.length)
  tiles, mixed = costs.tiled(s, s.length, few, False), _mixed(s, few)
  return costs.Cost(tiles.products + mixed.products, tiles.bytes + mixed.bytes)


def nystromformer_parallel(
    s: costs.Sizes, landmarks: int | None = None
) -> costs.Cost:
  """The T x S matrix, from the left."""
  T, K, V = s.length, s.width, s.value_width
  M = _landmarks(s, landmarks)
  weights = 2 * T * M * K
  products = weights + T * M * M + T * M * T + T * T * V
  products = 2 * s.lanes * _times(s) * (products + _inverse(M, K))
  arrays = (4 if s.gradient else 2) * s.lanes * T * (T + M) * s.wide
  return costs.Cost(products, arrays + s.result)


def nystromformer_blockwise(
    s: costs.Sizes, landmarks: int | None = None
) -> costs.Cost:
  """Landmarks attend to all keys, then all queries to landmarks, by tiles."""
  M = _landmarks(s, landmarks)
  of_marks = costs.tiled(s, M, s.length, False)
  to_marks = costs.tiled(s, s.length, M, False)
  own = M * M * s.value_width + _inverse(M, s.width)
  products = of_marks.products + to_marks.products
  products += 2 * s.lanes * _times(s) * own
  return costs.Cost(products, of_marks.bytes + to_marks.bytes + s.result)


def _times(s: costs.Sizes) -> int:
  """How often a product is made."""
  return 3 if s.gradient else 1


def _mixed(s: costs.Sizes, few: int) -> costs.Cost:
  """What it costs to mix keys and values, and the outputs."""
  widths = s.width + s.value_width
  products = 2 * s.lanes * few * s.length * widths * _times(s)
  return costs.Cost(products, s.lanes * few * widths * s.wide + s.result)


def _landmarks(s: costs.Sizes, landmarks: int | None) -> int:
  """M."""
  return landmarks or min(nystromformer.LANDMARKS, s.length)


def _inverse(M: int, K: int) -> int:
  """Multiplications of the landmarks' own weights and their inverse."""
  return M * M * K + nystromformer.ITERATIONS * 4 * M**3
