"""The target of `linear_algebra`: tasks in each way, timed, with errors."""

import pathlib
import random
import sys
from typing import Any

import jax

from lalm.anatomy import matrices
from lalm.anatomy import rivals
from lalm.anatomy import subject
from lalm.anatomy import target
from lalm.anatomy import tasks
from lalm.linear_operators import products
from lalm.measure import timing
from lalm.measure import worker
from lalm.spectral import condition
from lalm.spectral import lanczos
from lalm.spectral import power_law
from lalm.spectral import rank
from lalm.spectral import similarity
from lalm.spectral import singular
from lalm.spectral import trace

FORM = "every_way"
_BUDGET = 2.0  # seconds of a way, where none are told
names, get = target.catalogue(tuple(tasks.TASKS), FORM)


def _analysis(
    point: target.Point,
    path: pathlib.Path,
    replicate: int,
    settings: target.Settings,
) -> dict[str, Any]:
  """Seconds and the error of each way, in an order drawn anew.

  Raises:
    ArithmeticError: what we compute is wrong.
  """
  seed = point["seed"] + replicate
  task = tasks.TASKS[point["mechanism"]]
  ways = list(task.ways(path, seed).items())
  random.Random(seed).shuffle(ways)
  found = {
      name: _one(way, settings.get("point_budget", _BUDGET))
      for name, way in ways
  }
  error = found[tasks.OURS]["error"]
  if not error <= task.bound:
    raise ArithmeticError(
        f"{point['mechanism']}: expected an error of at most {task.bound:g},"
        f" got {error:.3g}"
    )
  return {"meaning": task.meaning, "ways": found}


def _one(way: rivals.Way, budget: float) -> dict[str, Any]:
  """Of one that fails, why."""
  try:
    error = way.error(jax.block_until_ready(way.call()))
    seconds = [timing.once(way.call)]
    if seconds[0] < budget:  # else it has no time for more
      seconds = timing.measure(way.call, budget=budget).seconds
  except Exception as reason:  # another library's affair, or ours: it is told
    return {"error": float("inf"), "reason": worker.reason_of(reason)}
  return {"error": float(f"{error:.3g}"), "seconds": seconds}


TARGET = target.Target(
    _analysis, sys.modules[__name__], matrices, rivals, subject, tasks,
    products, condition, lanczos, power_law, rank, similarity, singular, trace,
)  # fmt: skip
