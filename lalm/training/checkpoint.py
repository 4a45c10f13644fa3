"""Checkpoints by Orbax: whole or absent, each proven by a digest when read.

A folder holds one checkpoint a step, which appears by being renamed. The best
and the last two stay. What is read is compared with the digest that was written
beside it; a checkpoint that is damaged is named and the one before it is used.
"""

from collections.abc import Callable
import hashlib
import math
import os
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np
from orbax import checkpoint as ocp

_LAST = 2  # the newest ones that stay; of one that is damaged, the other is


class CheckpointError(OSError):
  """A checkpoint cannot be written or read; one line with its folder."""


class Restored(NamedTuple):
  """A checkpoint: its step, its state, and what was told beside it."""

  step: int
  state: Any
  notes: dict[str, Any]


class Checkpoints:
  """The checkpoints of one run.

  Args:
    folder: of nothing else; made when it is needed.
    say: is told of a checkpoint that is not used, in a line.
  """

  def __init__(
      self, folder: pathlib.Path, say: Callable[[str], None] = lambda _: None
  ) -> None:
    self._folder = folder.resolve()
    self._say = say
    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=False, cleanup_tmp_directories=True
    )
    self._manager = _guarded(
        self._folder,
        "open",
        lambda: ocp.CheckpointManager(self._folder, options=options),
    )
    self._losses = {step: self._loss(step) for step in self.steps()}

  def steps(self) -> list[int]:
    """Returns the steps that have a checkpoint, in order."""
    return sorted(self._manager.all_steps())

  def save(
      self, step: int, state: Any, loss: float, notes: dict[str, Any]
  ) -> None:
    """Writes a checkpoint; when this returns, it is there whole.

    Args:
      step: steps done.
      state: a pytree of arrays.
      loss: by which the best one is known.
      notes: what JSON can hold.

    Raises:
      CheckpointError: it cannot be written; those before are as they were.
    """
    if step in self._manager.all_steps():
      return
    # What is no number is not the best one.
    loss = loss if math.isfinite(loss) else math.inf
    beside = {"digest": digest(state), "loss": loss, "notes": notes}
    items = ocp.args.Composite(
        state=ocp.args.StandardSave(state), beside=ocp.args.JsonSave(beside)
    )
    _guarded(
        self._folder,
        f"write step {step}",
        lambda: self._manager.save(step, args=items),
    )
    self._losses[step] = loss
    kept = {self._best(), *self.steps()[-_LAST:]}
    for old in self.steps():
      if old not in kept:
        self._forget(old)

  def latest(self, like: Any) -> Restored | None:
    """Returns the newest checkpoint that is whole, None if there is none.

    Args:
      like: a state of the same shapes and dtypes.

    Raises:
      CheckpointError: there are some, and all are damaged.
    """
    found = self.steps()
    for step in reversed(found):
      try:
        restored = self.read(step, like)
      except CheckpointError as error:
        self._say(f"{error}; not used")
        continue
      for later in found[found.index(step) + 1 :]:
        self._forget(later)  # else it would keep its place from a new one
      return restored
    if found:
      raise CheckpointError(
          f"{self._folder}: expected a checkpoint that can be read, got"
          f" {len(found)} that cannot; without the folder the run begins anew"
      )
    return None

  def best(self, like: Any) -> Restored | None:
    """Returns the checkpoint of the least loss, None if there is none.

    Raises:
      CheckpointError: it is damaged.
    """
    step = self._best()
    return None if step is None else self.read(step, like)

  def read(self, step: int, like: Any) -> Restored:
    """Returns one checkpoint.

    Raises:
      CheckpointError: it is missing, damaged, or of another state.
    """
    items = ocp.args.Composite(
        state=ocp.args.StandardRestore(
            jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        ),
        beside=ocp.args.JsonRestore(),
    )
    found = _guarded(
        self._folder,
        f"read step {step}",
        lambda: self._manager.restore(step, args=items),
    )
    if digest(found["state"]) != found["beside"]["digest"]:
      raise CheckpointError(
          f"{self._folder}: cannot read step {step}: its numbers are not those"
          " that were written"
      )
    return Restored(step, found["state"], found["beside"]["notes"])

  def _best(self) -> int | None:
    """The step of the least loss, the first of several."""
    known = self._losses
    return min(known, key=lambda step: (known[step], step), default=None)

  def _loss(self, step: int) -> float:
    """The loss written beside a state; of one that cannot be read, the most."""
    items = ocp.args.Composite(beside=ocp.args.JsonRestore())
    try:
      return float(self._manager.restore(step, args=items)["beside"]["loss"])
    except Exception:  # it is damaged in whatever way: `read` will say how
      return math.inf

  def _forget(self, step: int) -> None:
    _guarded(self._folder, f"delete {step}", lambda: self._manager.delete(step))
    self._losses.pop(step, None)

  def close(self) -> None:
    """Ends the work of the manager."""
    self._manager.close()


def digest(state: Any) -> str:
  """Returns a hash of a pytree's names, shapes, dtypes and bytes."""
  hashed = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(state):
    x = np.asarray(leaf)
    hashed.update(f"{jax.tree_util.keystr(path)} {x.shape} {x.dtype}".encode())
    hashed.update(np.ascontiguousarray(x).tobytes())
  return hashed.hexdigest()


def _guarded(folder: pathlib.Path, what: str, call: Callable[[], Any]) -> Any:
  """Calls; whatever goes wrong is a `CheckpointError` of one line."""
  try:
    return call()
  except CheckpointError:
    raise
  except Exception as error:  # of Orbax, of its storage, of the system
    code = getattr(error, "errno", None)
    lines = str(error).strip().splitlines() or [type(error).__name__]
    reason = os.strerror(code) if code else lines[0]
    raise CheckpointError(f"{folder}: cannot {what}: {reason[:300]}") from error
