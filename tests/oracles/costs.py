"""Costs with a known law, and the records a sweep would make of them.

Written apart from `lalm.scaling`: the truth is in the arguments.
"""

from typing import Any, NamedTuple

import numpy as np

LENGTHS = 2 ** np.arange(8, 14)
WORKERS = 5
NOISE = 0.03
OVERHEAD = 3e-4


class Draw(NamedTuple):
  """A synthetic kernel as measured: values [workers, lengths] and truth."""

  values: np.ndarray
  exponent: float
  word: str


def noisy(
    rng: np.random.Generator, cost: np.ndarray, workers: int = WORKERS
) -> np.ndarray:
  """A factor common to a worker and one per point, 3 % each."""
  common = rng.standard_normal((workers, 1))
  each = rng.standard_normal((workers, len(cost)))
  return cost * np.exp(NOISE * (common + each))


def n_log_n_slope(lengths: np.ndarray) -> float:
  """Least-squares slope of log(n log n) against log(n)."""
  x = np.log(lengths)
  y = x + np.log(x)
  return float(np.cov(x, y)[0, 1] / np.var(x, ddof=1))


def draw(
    rng: np.random.Generator, kind: str, lengths: np.ndarray = LENGTHS
) -> Draw:
  """A kernel of one kind with coefficients as real kernels have them.

  linear: 0.1 to 100 us a token; quadratic: 10 us to 1 ms at 256 for the n^2
  alone, beside it b n up to 0.3 of c n^2 at the largest length; n log n: 0.1
  to 10 us; constant: 10 to 310 us.  Overhead is up to 300 us.
  """
  n = lengths.astype(float)
  a = OVERHEAD * rng.uniform()
  if kind == "linear":
    cost, truth = a + 10 ** rng.uniform(-7, -4) * n, 1.0
  elif kind == "quadratic":
    c = 10 ** rng.uniform(-9, -7.5)
    b = c * n[-1] * rng.uniform(0, 0.3)
    cost, truth = a + b * n + c * n**2, 2.0
  elif kind == "n log n":
    cost = a + 10 ** rng.uniform(-7, -5) * n * np.log(n)
    truth = n_log_n_slope(n)
  elif kind == "constant":
    cost, truth = a + 1e-5 + 0 * n, 0.0
  else:
    raise ValueError(f"kind: expected a known kind, got {kind!r}")
  return Draw(noisy(rng, cost), truth, kind)


def record(
    length: int, replicate: int, seconds: float, **changes: Any
) -> dict[str, Any]:
  """One line of a store; `changes` replace fields, "point.x" inside point."""
  point = {
      "mechanism": "softmax",
      "form": "parallel",
      "pass": "forward",
      "length": int(length),
      "batch": 1,
      "heads": 8,
      "width": 64,
      "value_width": 64,
      "dtype": "float32",
      "causal": False,
      "chunk": None,
      "corpus": "stdlib",
      "seed": 0,
  }
  line = {
      "schema": 1,
      "point": point,
      "key": f"key-{length}",
      "replicate": replicate,
      "status": "ok",
      "reason": "",
      "provenance": "measured",
      "experiment": "attention_scaling",
      "machine": "0123456789ab",
      "device": "cpu",
      "versions": {"python": "3.11.7", "jax": "0.10.2"},
      "seconds": [seconds * 0.999, seconds, seconds * 1.5],
      "memory": {"peak_bytes": 8 * int(length) ** 2, "method": "VmHWM"},
      "operations": {
          "products": 4096 * int(length) ** 2,
          "closed_form": 4096 * int(length) ** 2,
      },
      "compile_seconds": 0.5 if replicate < 2 else None,
      "ceilings": {"products_per_second": 1e11, "bytes_per_second": 1e10},
      "started": "2026-01-01T00:00:00Z",
  }
  for name, value in changes.items():
    place, _, field = name.partition("__")
    if field:
      line[place] = line[place] | {field: value}
    else:
      line[name] = value
  return line


def records(values: np.ndarray, **changes: Any) -> list[dict[str, Any]]:
  """Lines of a sweep: values [workers, lengths] in seconds."""
  return [
      record(length, replicate, float(values[replicate, i]), **changes)
      for replicate in range(len(values))
      for i, length in enumerate(LENGTHS)
  ]
