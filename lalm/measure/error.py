"""The gate every timing passes: is the compiled function right?

Forward, 64 seeded query rows are recomputed in float64 from the definition.
Backward, the gradients for a cotangent on rows of one head are applied to
random directions and compared with central differences of the definition,

  <dL/dx, u> = (L(x + h u) - L(x - h u)) / 2h + O(h^2),   L = sum(cotangent out)

for x in q, k, v and the gates. A causal mechanism's rows lie in a prefix of at
most 2,048 tokens, which is all the definition then has to be evaluated on; the
compiled function runs at full length all the same, and beyond the prefix, and
in every other head, its gradients must vanish.
"""

import types
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import numpy as np

from lalm.measure import tolerances

ROWS = 64  # query rows recomputed
PREFIX = 2048  # tokens at most, where causality allows a prefix
_HEADS = 4  # (batch, head) pairs the rows are spread over
_DIRECTIONS = 2  # for each of q, k, v and the gates
# Small enough that no entry crosses a kink of a feature map (relu) in between,
# large enough that float64 resolves the difference to 1e-8.
_STEP = 1e-7
_VANISHING = 0.01  # of the largest gradient's norm
_ENTRIES = 2**24  # rows x keys of a definition evaluated at once: 128 MiB

# The definition's rows: reference(q, k, v, *gates, rows, causal=) of one head.
Reference = Callable[..., np.ndarray]

_LAYOUTS = types.MappingProxyType({"q": "BTHK", "k": "BTGK", "v": "BTGV"})


class Verdict(NamedTuple):
  """What the gate found.

  Attributes:
    status: "ok", "wrong" or "not_finite".
    kind: "rows" or "directional", the comparison that decided.
    relative: root mean square error over that of the definition; None where it
      is not finite.
    tolerance: the largest `relative` that is ok.
    reason: one line where the status is not ok.
  """

  status: str
  kind: str
  relative: float | None
  tolerance: float
  reason: str = ""


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


def verdict(kind: str, relative: float, tolerance: float) -> Verdict:
  """Returns what a relative error comes to, beside its tolerance."""
  if relative <= tolerance:
    return Verdict("ok", kind, relative, tolerance)
  reason = f"{kind}: relative error {relative:.2e}, tolerance {tolerance:.2e}"
  finite = relative if np.isfinite(relative) else None
  return Verdict("wrong", kind, finite, tolerance, reason)


def _not_finite(
    arrays: dict[str, np.ndarray], kind: str, tolerance: float
) -> Verdict | None:
  """A verdict naming the first array with a value that is not finite."""
  for name, array in arrays.items():
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
      reason = f"{name}: {bad} of {array.size} values are not finite"
      return Verdict("not_finite", kind, None, tolerance, reason)
  return None


class _Head(NamedTuple):
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


def _heads(generator: np.random.Generator, q: np.ndarray) -> np.ndarray:
  """Up to four different (batch, head) pairs, [P, 2]."""
  pairs = np.stack(
      np.meshgrid(np.arange(q.shape[0]), np.arange(q.shape[2])), axis=-1
  ).reshape(-1, 2)
  return generator.permutation(pairs)[:_HEADS]


def _rows(
    generator: np.random.Generator, length: int, count: int
) -> np.ndarray:
  """Sorted rows without repeats; the first and the last are always there."""
  if length <= count:
    return np.arange(length)
  inner = generator.choice(length - 2, max(count - 2, 0), replace=False) + 1
  return np.sort(np.concatenate([[0, length - 1], inner]))


def _definition(
    reference: Reference,
    inputs: Sequence[np.ndarray],
    rows: np.ndarray,
    causal: bool,
) -> np.ndarray:
  """The definition's rows, a group at a time so that memory stays bounded."""
  groups = -(-len(rows) * len(inputs[1]) // _ENTRIES)
  return np.concatenate(
      [
          np.asarray(reference(*inputs, part, causal=causal), np.float64)
          for part in np.array_split(rows, max(groups, 1))
      ]
  )


def check(
    call: Callable[[np.ndarray | None], Sequence[np.ndarray]],
    inputs: Sequence[np.ndarray],
    reference: Reference,
    *,
    backward: bool,
    causal: bool,
    seed: int | Sequence[int],
    device: str,
    layouts: Mapping[str, str] = _LAYOUTS,
) -> Verdict:
  """The gate: calls what will be timed once and compares what it returns.

  Args:
    call: from None to [out]; if `backward`, from a cotangent of the output to
      [out, dq, dk, dv, ...].
    inputs: q, k, v and the gates that it uses.
    reference: the definition's rows of one head.
    backward: whether gradients are to be checked too.
    causal: whether query t sees the keys up to t only.
    seed: of rows, heads, cotangent and directions.
    device: `jax.default_backend()`, or "cpu" for another library there.
    layouts: name -> letters of the axes, as "BTG", of each of `inputs`.
  """
  drawn = None
  if backward:
    drawn = probe(inputs, causal=causal, seed=seed)
  out, *gradients = call(drawn.cotangent if drawn else None)
  common: dict[str, Any] = {"causal": causal, "seed": seed, "device": device}
  common["layouts"] = layouts
  forward = check_forward(out, inputs, reference, **common)
  if drawn is None or forward.status != "ok":
    return forward
  return check_backward(gradients, inputs, drawn, reference, **common)


def check_forward(
    out: np.ndarray,
    inputs: Sequence[np.ndarray],
    reference: Reference,
    *,
    causal: bool,
    seed: int | Sequence[int],
    device: str = "cpu",
    layouts: Mapping[str, str] = _LAYOUTS,
    rows: np.ndarray | None = None,
) -> Verdict:
  """Compares rows of an output with the definition in float64.

  Args:
    out: [B, T, H, V], all of which must be finite; [B, R, H, V] of `rows`.
    inputs: q [B, T, H, K], k [B, S, G, K] or [B, S, r, G, K], v as k and the
      gates as they were given.
    reference: the definition's rows of one head.
    causal: whether query t sees the keys up to t only.
    seed: of the rows and heads.
    device: `jax.default_backend()` of the function.
    layouts: name -> letters of the axes of each of `inputs`.
    rows: [R] positions of the only queries that were computed, in which case
      one head is compared.

  Returns:
    The verdict on those rows; else on 64, or on all where there are fewer.
  """
  q, k, v = inputs[:3]
  tolerance = tolerances.forward(q.dtype.name, k.shape[1], device)
  bad = _not_finite({"out": out}, "rows", tolerance)
  if bad:
    return bad
  queries = q.shape[1] if rows is None else len(rows)
  expected_shape = (q.shape[0], queries, q.shape[2], v.shape[-1])
  if out.shape != expected_shape:
    reason = f"out: expected shape {expected_shape}, got {out.shape}"
    return Verdict("wrong", "rows", None, tolerance, reason)
  drawn = sample(
      out,
      inputs,
      reference,
      causal=causal,
      seed=seed,
      layouts=layouts,
      rows=rows,
  )
  relative = float(np.maximum(drawn.early, drawn.late / 2))
  return verdict("rows", relative, tolerance)


def sample(
    out: np.ndarray,
    inputs: Sequence[np.ndarray],
    reference: Reference,
    *,
    causal: bool,
    seed: int | Sequence[int],
    layouts: Mapping[str, str] = _LAYOUTS,
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
  pairs, group = _heads(generator, q), q.shape[2] // k.shape[-2]
  if rows is not None:
    pairs = pairs[:1]
  positions, found, expected = [], [], []
  for batch, head in pairs:
    at = rows
    if at is None:
      at = _rows(generator, q.shape[1], count // len(pairs))
    where = _Head(batch, head, group)
    single = [where.part(*both) for both in zip(inputs, layouts.values())]
    own = where.part(out, "BTHV")
    positions.append(at)
    found.append(own[at] if rows is None else own)
    expected.append(_definition(reference, single, at, causal))
  return Sample(pairs, *map(np.stack, (positions, found, expected)))


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
  batch, head = (int(i) for i in _heads(generator, q)[0])
  length = min(k.shape[1], PREFIX) if causal else k.shape[1]
  rows = _rows(generator, min(q.shape[1], length), ROWS)
  cotangent = np.zeros((*q.shape[:3], v.shape[-1]), v.dtype)
  values = generator.standard_normal((len(rows), v.shape[-1]))
  cotangent[batch, rows, head] = values.astype(v.dtype)
  return Probe(cotangent, batch, head, rows, length)


def check_backward(
    gradients: Sequence[np.ndarray],
    inputs: Sequence[np.ndarray],
    drawn: Probe,
    reference: Reference,
    *,
    causal: bool,
    seed: int | Sequence[int],
    device: str = "cpu",
    layouts: Mapping[str, str] = _LAYOUTS,
) -> Verdict:
  """Compares gradients for a probe with central differences in float64.

  Args:
    gradients: dq, dk, dv and those of the gates, but for integers, which come
      last, for the probe's cotangent.
    inputs: q, k, v and the gates they were taken at.
    drawn: from `probe`.
    reference: the definition's rows of one head.
    causal: as given to the function.
    seed: of the directions.
    device: `jax.default_backend()` of the function.
    layouts: name -> letters of the axes of each of `inputs`.

  Returns:
    The verdict on the largest of the errors of the gradients, each relative to
    its norm, and of what should vanish and does not.
  """
  q, k = inputs[:2]
  name, kind = q.dtype.name, "directional"
  tolerance = tolerances.directional(name, drawn.length, device)
  named = {f"d{x}": array for x, array in zip(layouts, gradients)}
  bad = _not_finite(named, kind, tolerance)
  if bad:
    return bad
  where = _Head(drawn.batch, drawn.head, q.shape[2] // k.shape[-2])
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
  return verdict(kind, float(np.max(errors)), tolerance)


def _differences(
    reference: Reference,
    single: Sequence[np.ndarray],
    drawn: Probe,
    causal: bool,
) -> Callable[[int, np.ndarray], float]:
  """A function (place, direction) -> central difference of L along it."""
  weights = drawn.cotangent[drawn.batch, drawn.rows, drawn.head]
  weights = weights.astype(np.float64)

  def moved(place: int, step: np.ndarray) -> np.ndarray:
    inputs = [a + step if i == place else a for i, a in enumerate(single)]
    return _definition(reference, inputs, drawn.rows, causal)

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
