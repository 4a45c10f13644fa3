"""What the forms of the gated families cost, from their mathematics.

As in `costs`: products, 2 m n k each, and bytes beyond the inputs. A chunk of C
tokens is made of these products of a lane, in multiplications:

    scores, C C K (vector decays: K C (C - 1) / 2, each pair once),
    sums over values, C C V; products with the state, C K V,
    sums of scalar decays, (C + 1) C C; the inverse, 2 (ceil(log2 C) - 1) C^3.

In a gradient a product is made three times: once, and once for each factor. It
is made once more where its result is a factor itself. An inverse is made twice:
its derivative is written in its result (`triangular`).
"""

from typing import NamedTuple

from lalm.attention import calls
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
  """A chunk at a time."""
  chunk = min(s.chunk or calls.default_chunk(family.writes), s.length)
  count = -(-s.length // chunk)
  # A token of r writes is r tokens.
  chunk *= family.writes
  K, V = s.features, s.value_width
  factor, term = (4, 3) if s.gradient else (1, 1)
  # How many scores, sums over values (of which factors), uses of the state.
  scores, sums, solved, states, held = {
      "": (1, 1, 0, 2, 0),
      "delta": (2, 1, 1, 2, 1),
      "pair": (4, 2, 2, 3, 1),
  }[family.rank]
  size = chunk * chunk * K
  if family.decay == "vector":
    padded = 1 << (chunk - 1).bit_length()
    size = K * padded * (padded - 1) // 2
  products = scores * size * factor
  products += chunk * chunk * V * (sums * term + solved * factor)
  products += chunk * K * V * (states * term + held * factor)
  if family.decay == "scalar":
    products += (chunk + 1) * chunk * chunk * term
  if family.rank:
    levels = max(0, (chunk - 1).bit_length() - 1)
    products += 2 * levels * chunk**3 * (2 if s.gradient else 1)
  if family.normalised:
    products += chunk * K * factor
  if chunk == 1 and s.gradient:
    # There is no pair below the diagonal, which one factor was needed for.
    scores = 0 if family.decay == "vector" else K
    products -= {"": 0, "delta": scores, "pair": 2 * V}[family.rank]
    products -= V if family.bonus else 0
  return costs.Cost(2 * s.lanes * count * products, _bytes(s, count, chunk))


def recurrent(s: costs.Sizes, family: Family) -> costs.Cost:
  """A token at a time; the state that is read is a sum of products."""
  chunk = min(calls.CHUNK, s.length)
  count = -(-s.length // chunk)
  K, V = s.features, s.value_width
  factor, term = (4, 3) if s.gradient else (1, 1)
  widths = K * V * (_written(family) * factor + term)
  widths += K * factor if family.normalised else 0
  inner = chunk * K * V * s.lanes * s.wide if s.gradient else 0
  memory = _bytes(s, count, chunk) + inner
  return costs.Cost(2 * s.lanes * count * chunk * widths, memory)


def step(s: costs.Sizes, family: Family) -> costs.Cost:
  """One token; the state before it is not differentiated."""
  K, V = s.features, s.value_width
  times = 3 if s.gradient else 1
  # What the token writes for later is not in its output.
  products = K * V * (_written(family) - family.bonus + 1) * times
  if s.gradient and (family.rank == "pair" or family.rank and not family.decay):
    products -= K * V
  products += K * times if family.normalised else 0
  return costs.Cost(2 * s.lanes * products, s.lanes * (K * V + V) * s.wide)


def _written(family: Family) -> int:
  """Products of a token with or into the state, but for reading the output."""
  once = {"": 1, "delta": 2, "pair": 3}[family.rank]
  return once * family.writes + family.bonus


def _bytes(s: costs.Sizes, count: int, chunk: int) -> int:
  """Outputs, scores of a chunk; in a gradient a state for each of them."""
  K, V = s.features, s.value_width
  scores = 4 * chunk**2 * s.lanes * s.wide
  states = s.lanes * count * K * V * s.wide
  return scores + s.result + (states if s.gradient else 0)
