"""What the forms of the gated families cost, from their mathematics.

As in `costs`: products, 2 m n k each, and bytes beyond the inputs. A block of C
tokens (`chunks`) is made of these products of a lane, in multiplications:

    scores, C C K (vector decays: K C (C - 1) / 2, each pair once),
    sums over values, C C V; products with the state, C K V,
    sums of scalar decays, (C + 1) C C; the inverse, 2 (ceil(log2 C) - 1) C^3.

In a gradient a product is made three times: once, and once for each factor. It
is made once more where its result is a factor itself. An inverse is made twice,
and its derivative, written in its result (`triangular`), is 2 C^3.
"""

from typing import NamedTuple

from lalm.attention import calls
from lalm.attention import chunks
from lalm.attention import costs


class Family(NamedTuple):
  """What a mechanism's transition is made of.

  Attributes:
    decay: "", "scalar" or "vector".
    rank: "", "delta" (`beta`) or "pair" (`read`, `write`).
    bonus: whether the state is read before the token (`bonus`).
    normalised: whether there is a normaliser (`mlstm`).
    writes: r, of a token.
  """

  decay: str = ""
  rank: str = ""
  bonus: bool = False
  normalised: bool = False
  writes: int = 1


def chunkwise(s: costs.Sizes, family: Family) -> costs.Cost:
  """A chunk at a time, in blocks."""
  tokens, block = _cut(s, family)
  count = -(-s.length // tokens)
  # A token of r writes is r tokens.
  products = _block(s, family, block * family.writes, tokens > block)
  products *= 2 * s.lanes * count * (tokens // block)
  return costs.Cost(products, _bytes(s, count, tokens * family.writes))


def _cut(s: costs.Sizes, family: Family) -> tuple[int, int]:
  """Tokens a chunk and a block."""
  if family.normalised:
    chunk = min(s.chunk or calls.CHUNK, s.length)
    return chunk, chunk
  solved = bool(family.rank)
  return chunks.sizes(s.length, s.chunk, solved=solved, writes=family.writes)


def _block(s: costs.Sizes, family: Family, C: int, several: bool) -> int:
  """Multiplications of a block, one of several in its chunk or alone."""
  K, V = s.features, s.value_width
  factor, term = (4, 3) if s.gradient else (1, 1)
  # How many scores, sums over values, solutions, additions to the state, and
  # what is read of it within.
  scores, sums, solved, added, held = {
      "": (1, 1, 0, 1, 0),
      "delta": (2, 1, 1, 1, 1),
      "pair": (4, 2, 1, 2, 1),
  }[family.rank]
  size = C * C * K
  if family.decay == "vector":
    padded = 1 << (C - 1).bit_length()
    size = K * padded * (padded - 1) // 2
  products = scores * size * factor
  products += C * C * V * (sums * term + solved * factor)
  if family.rank == "pair":
    products += C * C * V * factor  # what is written, as removed
  # The states between blocks are read, and so what is added to them.
  products += C * K * V * (term + added * (factor if several else term))
  products += C * K * V * held * factor
  if family.decay == "scalar":
    products += (C + 1) * C * C * term
  if family.rank:
    levels = max(0, (C - 1).bit_length() - 1)
    products += 2 * levels * C**3 * (2 if s.gradient else 1)
    products += 2 * C**3 if s.gradient else 0
  if family.normalised:
    products += C * K * (factor + term)  # read, and added to
  if C == 1 and s.gradient:
    # There is no pair below the diagonal, which one factor was needed for.
    scores = 0 if family.decay == "vector" else K
    products -= {"": 0, "delta": scores, "pair": 2 * V + 2}[family.rank]
    products -= V if family.bonus else 0
  return products


def recurrent(s: costs.Sizes, family: Family) -> costs.Cost:
  """A token at a time."""
  chunk = min(calls.CHUNK, s.length)
  count = -(-s.length // chunk)
  K, V = s.features, s.value_width
  factor, term = (4, 3) if s.gradient else (1, 1)
  # Products with the state and into it, but for reading the output; what a
  # write reads is a factor of it, so that it is all made again.
  other = {"": 1, "delta": 2, "pair": 3}[family.rank] * family.writes
  widths = K * V * (other * factor + (factor if family.rank else term))
  widths += K * factor if family.normalised else 0
  inner = chunk * K * V * s.lanes * s.wide if s.gradient else 0
  memory = _bytes(s, count, chunk) + inner
  return costs.Cost(2 * s.lanes * count * chunk * widths, memory)


def step(s: costs.Sizes, family: Family) -> costs.Cost:
  """One token: its output and the new state, which is not differentiated."""
  K, V = s.features, s.value_width
  times = 3 if s.gradient else 1
  products = 2 * K * V * times
  if family.rank or family.bonus:
    # The state before the token is read; what is written is for later ones.
    rows = {"": 1, "delta": 1 + family.writes, "pair": 2}[family.rank]
    written = {"": 1, "delta": family.writes, "pair": 2}[family.rank]
    products = (rows * (2 if s.gradient else 1) + written) * K * V
  products += K * times if family.normalised else 0
  return costs.Cost(2 * s.lanes * products, s.lanes * (K * V + V) * s.wide)


def _bytes(s: costs.Sizes, count: int, chunk: int) -> int:
  """Outputs, scores of a chunk; in a gradient a state for each of them."""
  K, V = s.features, s.value_width
  scores = 4 * chunk**2 * s.lanes * s.wide
  states = s.lanes * count * K * V * s.wide
  return scores + s.result + (states if s.gradient else 0)
