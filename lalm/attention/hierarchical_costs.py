"""What the forms of log-linear attention cost, from their mathematics.

As in `costs` and `gated_costs`. A chunk of C tokens is made of these products
of a lane, in multiplications, J the levels above c = log2 C and c' those up to
it that a chunk reads and writes where it may begin within a block:

    scores, C C K; sums over values, C C V; sums of decays, (C + 1) C C,
    what is read of the state, C J K V, and added to it, C K V,
    anywhere: C c' K V for either more.
"""

from lalm.attention import calls
from lalm.attention import costs
from lalm.attention import fenwick
from lalm.attention import hierarchical


def chunkwise(s: costs.Sizes) -> costs.Cost:
  """A chunk at a time, of one document from its first token."""
  chunk = min(s.chunk or hierarchical.CHUNK, s.length)
  whole = fenwick.aligned(s.length, chunk) // chunk
  others = -(-s.length // chunk) - whole
  products = whole * _chunk(s, chunk, False) + others * _chunk(s, chunk, True)
  return costs.Cost(2 * s.lanes * products, _bytes(s, whole + others, chunk))


def _levels(s: costs.Sizes) -> int:
  """N."""
  return hierarchical.levels(s.length) - 1


def _chunk(s: costs.Sizes, C: int, anywhere: bool) -> int:
  """Multiplications of a chunk."""
  K, V = s.width, s.value_width
  factor, term = (4, 3) if s.gradient else (1, 1)
  inner, levels = fenwick.levels_within(C), _levels(s)
  short = min(inner, levels) if anywhere else 0
  read = levels if anywhere else levels - inner
  products = C * C * (factor * K + term * V) + term * (C + 1) * C * C
  return products + term * C * K * V * (read + 1 + short)


def recurrent(s: costs.Sizes) -> costs.Cost:
  """A token at a time."""
  chunk = min(calls.CHUNK, s.length)
  count = -(-s.length // chunk)
  K, V = s.width, s.value_width
  factor, term = (4, 3) if s.gradient else (1, 1)
  products = s.lanes * count * chunk * K * V * (term * _levels(s) + factor)
  states = chunk * _levels(s) * K * V * s.lanes * s.wide if s.gradient else 0
  return costs.Cost(2 * products, _bytes(s, count, chunk) + states)


def step(s: costs.Sizes) -> costs.Cost:
  """One token: each level decays and is read, one is written for later ones."""
  level = s.lanes * s.width * s.value_width
  size = level * _levels(s)
  products = 2 * (size * (3 if s.gradient else 1) + level)
  one = s._replace(length=1)
  return costs.Cost(products, size * s.wide + one.result)


def _bytes(s: costs.Sizes, count: int, chunk: int) -> int:
  """Outputs, scores of a chunk; in a gradient a state for each of them."""
  scores = 4 * chunk**2 * s.lanes * s.wide
  state = s.lanes * _levels(s) * s.width * s.value_width * s.wide
  return scores + s.result + (count if s.gradient else 1) * state
