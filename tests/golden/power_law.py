"""Fits of WeightWatcher's own code, which tests compare with.

  python3 -m pip install -e ".[references]"
  python3 -m tests.golden.power_law

Writes `power_law.json` beside this file: of each case what was found, with the
versions that found it.
"""

from importlib import metadata
import json
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).with_suffix(".json")


def cases():
  """Names and spectra: drawn tails, and those of random matrices."""
  draw = np.random.default_rng(7)
  for alpha in (1.5, 2.5, 4.0):
    for size in (20, 64, 384):
      values = draw.uniform(size=size) ** (-1 / (alpha - 1))
      yield f"pareto {alpha} {size}", values
  for shape in ((384, 384), (384, 1536), (64, 200)):
    matrix = draw.standard_t(3, size=shape)
    yield f"t {shape}", np.linalg.svd(matrix, compute_uv=False) ** 2
  yield "gamma", draw.gamma(0.3, size=1000) + 1e-6


def main():
  """Writes the file."""
  from weightwatcher.WW_powerlaw import WWFit

  found = {}
  for name, values in cases():
    fit = WWFit(values)
    found[name] = {
        "alpha": float(fit.alpha),
        "x_min": float(fit.xmin),
        "D": float(fit.D),
    }
  versions = {n: metadata.version(n) for n in ("weightwatcher", "numpy")}
  text = json.dumps({"versions": versions, "fits": found}, indent=1)
  PATH.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
  main()
