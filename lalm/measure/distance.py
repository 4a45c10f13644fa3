"""How far from softmax attention is what stands in for it?

A point has, beside the fields of any point, a `budget` (0: the approximation's
own) and a `sharpness`, which multiplies the logits of the text. Replicates
draw their own features, projections and hashes; the text is the same.
"""

import sys
from typing import Any, Mapping, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import favor_variances
from lalm.attention import reference
from lalm.data import text
from lalm.measure import approximations
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import operations
from lalm.measure import samples

_ROWS = 8192  # of all heads; 2,048 of each of four
_THEORY = 32  # rows a head of which the variances are computed
_SIZES = ("batch", "length", "heads", "width", "value_width", "dtype")
# What a record follows from beside the compiled program.
_FOLLOWS = (
    sys.modules[__name__], approximations, favor_variances, reference, samples,
    text,
)  # fmt: skip

Point = Mapping[str, Any]


class Program(NamedTuple):
  """What is measured at a point.

  Attributes:
    function: q, k, v, drawn keywords -> out, not compiled yet.
    budget: of the approximation.
    approximation: its parts.
  """

  function: Any
  budget: int
  approximation: approximations.Approximation

  def drawn(self, key: jax.Array, k: jax.Array) -> dict[str, Any]:
    """What is random in it, for some keys."""
    return self.approximation.drawn(key, k, self.budget)


def program(point: Point) -> Program:
  """The function of a point.

  Raises:
    ValueError: there is no such approximation or form.
  """
  found = approximations.get(point["mechanism"])
  if point["form"] not in found.forms:
    known = ", ".join(found.forms)
    raise ValueError(f"form: expected {known}, got {point['form']!r}")
  budget = point["budget"] or found.own(point["width"], point["length"])
  static: dict[str, Any] = {"causal": point["causal"], **found.sizes(budget)}
  if point.get("chunk"):
    static["chunk"] = point["chunk"]
  call = lambda q, k, v, drawn: found.form(q, k, v, **drawn, **static).out
  return Program(jax.jit(call), budget, found)


def inputs(point: Point) -> list[np.ndarray]:
  """Queries, keys and values of a point: logits are `sharpness` as large."""
  sizes = {name: point[name] for name in _SIZES}
  q, k, v = text.projected(point["corpus"], point["seed"], **sizes)
  if approximations.get(point["mechanism"]).shared:
    q = k
  root = np.sqrt(point["sharpness"])
  return [(x * root).astype(x.dtype) for x in (q, k)] + [v]


class Target(kernel.Target):
  """Plans points and measures distances; nothing is timed."""

  def plan(self, point: Point, settings: kernel.Settings) -> dict[str, Any]:
    """Key, predicted bytes, and seconds of what is computed once.

    Raises:
      ValueError: a budget that does not fit the point.
    """
    del settings
    with kernel.precision(point):
      run = program(point)
      q, k, v = _shapes(point)
      draw = jax.jit(lambda k: run.drawn(jax.random.key(0), k))
      drawing = draw.trace(k)
      traced = run.function.trace(q, k, v, jax.eval_shape(draw, k))
      counted = operations.count_jaxpr(traced.jaxpr).products
      rows = min(_ROWS, q.shape[0] * q.shape[1] * q.shape[2]) * point["length"]
      counted += 2 * rows * (point["width"] + point["value_width"])
      programs = [x.lower().as_text() for x in (drawing, traced)]
      read = text.digest(point["corpus"], point["batch"] * point["length"])
      return {
          "key": keys.of(point, *programs, keys.code(*_FOLLOWS), read),
          "bytes": 4 * operations.largest_array(traced.jaxpr) + 32 * rows,
          "seconds": counted / self._rate(point["dtype"]),
          "repeats": 1,
      }

  def measure(
      self, point: Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point with the draws of one replicate."""
    kernel.use_cache(settings.get("cache"))
    key = self.plan(point, settings)["key"]
    record = kernel.identity(point, replicate, key)
    with kernel.precision(point):
      run, arrays = program(point), inputs(point)
      seed = jax.random.fold_in(jax.random.key(point["seed"]), replicate)
      drawn = run.drawn(seed, jnp.asarray(arrays[1]))
      out = np.asarray(run.function(*arrays, drawn))
      bad = out.size - np.count_nonzero(np.isfinite(out))
      if bad:
        reason = f"out: {bad} of {out.size} values are not finite"
        return {**record, "status": "not_finite", "reason": reason}
      seeds = [point["seed"], replicate]
      sample = _sample(out, arrays, point["causal"], seeds)
      record |= {
          "budget": run.budget,
          "distance": _distances(sample, point["length"]),
          "mean": _of_mean(sample, arrays[2], point["causal"]),
      }
      if run.approximation.kind:
        record |= _estimates(run, arrays, sample, drawn["feature_map"], point)
    return {**record, "status": "ok", "reason": ""}


def _shapes(point: Point) -> list[jax.ShapeDtypeStruct]:
  """Shapes of q, k and v."""
  sizes = [point[name] for name in _SIZES[:-1]]
  batch, length, heads, width, value_width = sizes
  kind = jnp.dtype(point["dtype"])
  return [
      jax.ShapeDtypeStruct((batch, length, heads, last), kind)
      for last in (width, width, value_width)
  ]


def _sample(
    out: np.ndarray,
    arrays: Sequence[np.ndarray],
    causal: bool,
    seed: Sequence[int],
) -> samples.Sample:
  """Rows of an output beside those of softmax in float64."""

  def rows_of(q, k, v, rows, *, causal):
    return reference.softmax_rows(q, k, v, rows, causal=causal)

  return samples.sample(
      out, arrays, rows_of, causal=causal, seed=seed, count=_ROWS
  )


def _distances(sample: samples.Sample, length: int) -> dict[str, Any]:
  """Relative RMS of all rows, and of those between two powers of two."""
  edges = [0, *(2**i for i in range(length.bit_length())), length]
  edges = sorted(set(edges))
  parts = []
  for first, stop in zip(edges, edges[1:]):
    inside = (sample.rows >= first) & (sample.rows < stop)
    found, expected = sample.found[inside], sample.expected[inside]
    parts.append(samples.relative_rms(found, expected) if len(found) else None)
  whole = samples.relative_rms(sample.found, sample.expected)
  return {"relative": whole, "edges": edges, "by_position": parts}


def _of_mean(sample: samples.Sample, v: np.ndarray, causal: bool) -> float:
  """Distance of the mean of the values a row sees, of which all are alike."""
  found = []
  for (batch, head), rows in zip(sample.pairs, sample.rows):
    values = np.asarray(v[batch, :, head], np.float64)
    if causal:
      counts = np.arange(1, len(values) + 1)[:, None]
      found.append((np.cumsum(values, axis=0) / counts)[rows])
    else:
      found.append(np.broadcast_to(values.mean(axis=0), sample.found[0].shape))
  return samples.relative_rms(np.stack(found), sample.expected)


# Exponentials of large logits are beyond float64: no number then.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _estimates(
    run: Program,
    arrays: Sequence[np.ndarray],
    sample: samples.Sample,
    phi: Any,
    point: Point,
) -> dict[str, Any]:
  """Distance of the kernel that random features estimate, and the theory.

  Returns:
    `kernel`: relative RMS of the estimates of exp(q . k / sqrt(K)).
    `theory`: what to expect of `kernel`, exact, or with features at right
    angles an upper bound; and of the `output` with independent features, to
    first order in the error of the kernel.
  """
  kind, count = run.approximation.kind, run.budget
  sums = np.zeros(5)
  # Middles of equal parts: early rows are large and must not count for more.
  middles = np.arange(_THEORY) + 0.5
  middles *= sample.rows.shape[1] / _THEORY
  chosen = np.unique(middles.astype(int))
  for index, (batch, head) in enumerate(sample.pairs):
    rows, out = sample.rows[index][chosen], sample.expected[index][chosen]
    q, k, v = (x[batch, :, head] for x in arrays)
    seen = np.arange(len(k)) <= rows[:, None] if point["causal"] else True
    x = favor_variances.scaled(q)[rows][:, None]
    y = favor_variances.scaled(k)[None]
    exact = np.exp(np.sum(x * y, axis=-1))
    found = [np.asarray(phi(jnp.asarray(z)), np.float64) for z in (q[rows], k)]
    expected = favor_variances.variance(kind, x, y, count)
    if run.approximation.orthogonal:
      expected -= favor_variances.orthogonal_gain(x, y, count)
    away = favor_variances.output_variance(
        kind, q, k, v, rows, count, causal=point["causal"]
    )
    squares = (found[0] @ found[1].T - exact) ** 2, expected, exact**2
    sums[:3] += [np.sum(z, where=seen) for z in squares]
    sums[3:] += away.sum(), np.sum(out**2)
  ratios = np.sqrt(sums[[0, 1, 3]] / sums[[2, 2, 4]])
  kernel_found, kernel_expected, output = (
      float(x) if np.isfinite(x) else None for x in ratios
  )
  theory = {"kernel": kernel_expected, "output": output}
  return {"kernel": kernel_found, "theory": theory}


TARGET = Target()
