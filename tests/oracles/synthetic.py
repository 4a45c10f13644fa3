"""Results folders of kernels whose laws are known, as a run writes them."""

import json
import math
import pathlib
import random
from typing import Any, Sequence

from lalm import store

MACHINE = "0123456789ab"
VERSIONS = {
    "jax": "0.10.2",
    "jaxlib": "0.10.2",
    "numpy": "2.4.6",
    "python": "3.11.7",
}
# Weights of (1, n, n^2) in seconds and bytes, and of products in (n, n^2).
KERNELS: dict[tuple[str, str], dict[str, tuple[float, ...]]] = {
    ("softmax", "parallel"): {
        "time": (6e-5, 1e-8, 2.4e-8),
        "memory": (2e7, 6e3, 34.0),
        "flops": (0.0, 2048.0),
    },
    ("softmax", "blockwise"): {
        "time": (9e-5, 1e-8, 8e-9),
        "memory": (2e7, 8e3, 0.0),
        "flops": (0.0, 1024.0),
    },
    ("linear", "chunkwise"): {
        "time": (1.2e-4, 6e-6, 0.0),
        "memory": (2.1e7, 9e3, 0.0),
        "flops": (262144.0, 0.0),
    },
}
LENGTHS = (256, 512, 1024, 2048, 4096, 8192)
PASSES = ("forward", "forward_backward")


def record(
    mechanism: str,
    form: str,
    pass_: str,
    length: int,
    replicate: int,
    status: str = "ok",
    reason: str = "",
    **changes: Any,
) -> dict[str, Any]:
  """One line of the store; `changes` replace fields of it or of its point."""
  point = {
      "mechanism": mechanism,
      "form": form,
      "pass": pass_,
      "length": length,
      "batch": 1,
      "heads": 8,
      "width": 64,
      "value_width": 64,
      "dtype": "float32",
      "causal": True,
      "chunk": None,
      "corpus": "python",
      "seed": 0,
  }
  point |= {name: changes.pop(name) for name in list(changes) if name in point}
  line: dict[str, Any] = {
      "schema": 1,
      "key": f"{abs(hash_of(point)):016x}"[:16],
      "replicate": replicate,
      "status": status,
      "reason": reason,
      "provenance": "measured",
      "experiment": "attention_scaling",
      "point": point,
      "machine": MACHINE,
      "device": "cpu",
      "versions": VERSIONS,
      "started": f"2026-01-01T00:{replicate:02d}:00Z",
  }
  if status == "ok":
    line |= measurement(mechanism, form, pass_, length, replicate)
  return line | changes


def hash_of(point: dict[str, Any]) -> int:
  """The same number for the same point in every process."""
  return random.Random(json.dumps(point, sort_keys=True)).getrandbits(64)


def measurement(
    mechanism: str, form: str, pass_: str, length: int, replicate: int
) -> dict[str, Any]:
  """The measured fields: the kernel's law, noise of 3 % for each worker."""
  kernel = KERNELS.get((mechanism, form), KERNELS["linear", "chunkwise"])
  draw = random.Random(f"{mechanism} {form} {pass_} {length} {replicate}")
  dearer = 2.6 if pass_ == "forward_backward" else 1.0
  extra = (hash_of({"name": mechanism + form}) % 97) / 97 + 0.6
  if (mechanism, form) in KERNELS:
    extra = 1.0
  seconds = dearer * extra * polynomial(kernel["time"], length)
  seconds *= math.exp(draw.gauss(0, 0.03))
  samples = [seconds * math.exp(draw.gauss(0, 0.01)) for _ in range(5)]
  peak = dearer * extra * polynomial(kernel["memory"], length)
  linear, square = kernel["flops"]
  products = round(dearer * (linear * length + square * length**2))
  return {
      "seconds": samples,
      "calls": 7,
      "memory": {
          "peak_bytes": round(peak * math.exp(draw.gauss(0, 0.004))),
          "method": "VmHWM",
          "compiler_temp_bytes": round(peak),
          "compiler_argument_bytes": 0,
          "compiler_output_bytes": 0,
          "closed_form_bytes": None,
          "flag": "",
      },
      "operations": {
          "products": products,
          "closed_form": products,
          "elementwise": 1,
      },
      "lowering_seconds": 0.05,
      "compile_seconds": 0.2 if replicate < 2 else None,
      "error": {"kind": "rows", "relative": 1e-6, "tolerance": 1e-5},
      "ceilings": {"products_per_second": 1.2e11, "bytes_per_second": 1e10},
  }


def polynomial(weights: Sequence[float], length: int) -> float:
  """weights[0] + weights[1] n + weights[2] n^2."""
  return sum(w * length**power for power, w in enumerate(weights))


def fit(
    mechanism: str,
    form: str,
    pass_: str,
    quantity: str,
    lengths: Sequence[int] = LENGTHS,
    **changes: Any,
) -> dict[str, Any]:
  """The object of fits.json: the truth, with a plausible interval."""
  kernel = KERNELS.get((mechanism, form), KERNELS["linear", "chunkwise"])
  dearer = 2.6 if pass_ == "forward_backward" else 1.0
  extra = (hash_of({"name": mechanism + form}) % 97) / 97 + 0.6
  if (mechanism, form) in KERNELS or quantity == "flops":
    extra = 1.0
  weights = (0.0, *kernel["flops"]) if quantity == "flops" else kernel[quantity]
  weights = tuple(dearer * extra * w for w in weights)
  centre = [polynomial(weights, n) for n in lengths]
  steep = weights[2] * lengths[-1] > weights[1]
  slopes = [
      {
          "length": math.sqrt(a * b),
          "slope": math.log2(y / x) / math.log2(b / a),
          "ci": [
              math.log2(y / x) / math.log2(b / a) - 0.06,
              math.log2(y / x) / math.log2(b / a) + 0.07,
          ],
      }
      for a, b, x, y in zip(lengths, lengths[1:], centre, centre[1:])
  ]
  return {
      "mechanism": mechanism,
      "form": form,
      "pass": pass_,
      "quantity": quantity,
      "exponent": 1.984 if steep else 1.013,
      "exponent_ci": [1.951, 2.027] if steep else [0.978, 1.046],
      "terms": {"1": weights[0], "n": weights[1], "n^2": weights[2]},
      "verdict": "quadratic" if steep else "linear",
      "offset": weights[0],
      "against": "n",
      "lengths": list(lengths),
      "replicates": 5,
      "local_slopes": slopes,
      "centre": centre,
      "band": [[0.94 * c, 1.06 * c] for c in centre],
      "share_of_ceiling": 0.4567 if quantity == "time" else None,
      "causal": True,
      "dtype": "float32",
      "machine": MACHINE,
      "device": "cpu",
  } | changes


def crossover(pass_: str, length: float | None = 739.0) -> dict[str, Any]:
  """The object of crossovers.json for blockwise softmax and linear."""
  return {
      "a": "softmax.blockwise",
      "b": "linear.chunkwise",
      "pass": pass_,
      "quantity": "time",
      "length": length,
      "length_ci": None if length is None else [0.9 * length, 1.12 * length],
  }


def sweep(
    kernels: Sequence[tuple[str, str]] = tuple(KERNELS),
    passes: Sequence[str] = PASSES,
    lengths: Sequence[int] = LENGTHS,
    replicates: int = 5,
) -> list[dict[str, Any]]:
  """The records of a whole sweep in which every point ended well."""
  return [
      record(*kernel, pass_, length, replicate)
      for replicate in range(replicates)
      for kernel in kernels
      for pass_ in passes
      for length in lengths
  ]


def write(
    folder: pathlib.Path,
    records: Sequence[dict[str, Any]],
    fits: Sequence[dict[str, Any]] | None = None,
    crossovers: Sequence[dict[str, Any]] | None = None,
) -> pathlib.Path:
  """Writes a results folder; None leaves a file out."""
  folder.mkdir(parents=True, exist_ok=True)
  for line in records:
    store.append(folder / "records.jsonl", line)
  for name, content in (("fits", fits), ("crossovers", crossovers)):
    if content is not None:
      store.replace(folder / f"{name}.json", json.dumps(content))
  return folder


def all_fits(
    kernels: Sequence[tuple[str, str]] = tuple(KERNELS),
    passes: Sequence[str] = PASSES,
    lengths: Sequence[int] = LENGTHS,
) -> list[dict[str, Any]]:
  """The fits of every kernel, pass and quantity of a sweep."""
  return [
      fit(*kernel, pass_, quantity, lengths)
      for kernel in kernels
      for pass_ in passes
      for quantity in ("time", "memory", "flops")
  ]
