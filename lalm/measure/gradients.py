"""Gradients of one head beside central differences of the definition."""

from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from lalm.measure import samples

PREFIX = 2048  # tokens at most, where causality allows a prefix
_DIRECTIONS = 2  # for each of q, k, v and the gates
# Small enough that no entry crosses a kink of a feature map (relu) in between,
# large enough that float64 resolves the difference to 1e-8.
_STEP = 1e-7
_VANISHING = 0.01  # of the largest gradient's norm


class Probe(NamedTuple):
  """A cotangent on sampled rows of one head.

  Attributes:
    cotangent: [B, T, H, V], zero elsewhere.
    batch: where it is not zero.
    head: where it is not zero.
    rows: [R], where it is not zero.
    length: keys those rows can depend on.
  """

  cotangent: np.ndarray
  batch: int
  head: int
  rows: np.ndarray
  length: int


def probe(
    inputs: Sequence[np.ndarray],
    *,
    causal: bool,
    seed: int | Sequence[int],
) -> Probe:
  """Draws the cotangent with which a gradient is checked.

  Args:
    inputs: q, k, v and the gates as they will be given.
    causal: as given to the function.
    seed: of rows, head and values.
  """
  q, k, v = inputs[:3]
  generator = np.random.default_rng(seed)
  batch, head = (int(i) for i in samples.draw_heads(generator, q)[0])
  length = min(k.shape[1], PREFIX) if causal else k.shape[1]
  rows = samples.draw_rows(generator, min(q.shape[1], length), samples.ROWS)
  cotangent = np.zeros((*q.shape[:3], v.shape[-1]), v.dtype)
  values = generator.standard_normal((len(rows), v.shape[-1]))
  cotangent[batch, rows, head] = values.astype(v.dtype)
  return Probe(cotangent, batch, head, rows, length)


def worst(
    gradients: Sequence[np.ndarray],
    inputs: Sequence[np.ndarray],
    drawn: Probe,
    reference: samples.Reference,
    *,
    causal: bool,
    seed: int | Sequence[int],
    layouts: Mapping[str, str],
) -> float:
  """Returns the largest error of the gradients, each relative to its norm.

  What should vanish and does not counts too. Arguments as in
  `error.check_backward`.
  """
  q, k = inputs[:2]
  where = samples.Head(drawn.batch, drawn.head, q.shape[2] // k.shape[-2])
  tokens = slice(drawn.length)
  of_head = lambda arrays: [
      where.part(array, layout, tokens)
      for array, layout in zip(arrays, layouts.values())
  ]
  single, inside = of_head(inputs), of_head(gradients)
  norms = [float(np.linalg.norm(gradient)) for gradient in inside]
  # A gradient that vanishes (one key: dq = dk = 0) is measured by the others.
  sizes = [max(norm, _VANISHING * max(norms)) or 1.0 for norm in norms]
  generator = np.random.default_rng(seed)
  differentiate = _differences(reference, single, drawn, causal)
  errors = []
  for place, (size, layout) in enumerate(zip(sizes, layouts.values())):
    error = _directional(differentiate, inside[place], place, generator)
    leak = _outside(gradients[place], where.where(layout, tokens))
    errors += [error / size, leak / size]
  # NumPy's maximum, for Python's may pass over a NaN.
  return float(np.max(errors))


def _differences(
    reference: samples.Reference,
    single: Sequence[np.ndarray],
    drawn: Probe,
    causal: bool,
) -> Callable[[int, np.ndarray], float]:
  """A function (place, direction) -> central difference of L along it."""
  weights = drawn.cotangent[drawn.batch, drawn.rows, drawn.head]
  weights = weights.astype(np.float64)

  def moved(place: int, step: np.ndarray) -> np.ndarray:
    inputs = [a + step if i == place else a for i, a in enumerate(single)]
    return samples.definition(reference, inputs, drawn.rows, causal)

  def differentiate(place: int, direction: np.ndarray) -> float:
    up = moved(place, _STEP * direction)
    down = moved(place, -_STEP * direction)
    return float(np.sum(weights * (up - down)) / (2 * _STEP))

  return differentiate


def _directional(
    differentiate: Callable[[int, np.ndarray], float],
    gradient: np.ndarray,
    place: int,
    generator: np.random.Generator,
) -> float:
  """Root mean square of <gradient, u> minus the central difference.

  For a direction u of independent unit entries this estimates || error ||.
  """
  squares = []
  for _ in range(_DIRECTIONS):
    direction = generator.standard_normal(gradient.shape)
    product = float(np.sum(gradient * direction))
    squares.append((product - differentiate(place, direction)) ** 2)
  return float(np.sqrt(np.mean(squares)))


def _outside(gradient: np.ndarray, inside: Any) -> float:
  """Norm of a gradient where it must vanish: later tokens, other heads."""
  rest = np.array(gradient, np.float32)
  rest[inside] = 0
  return float(np.linalg.norm(rest.ravel()))
