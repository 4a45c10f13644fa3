"""What a program is expected to compute and to hold, before it has run."""

from typing import Any

import jax

from lalm.measure import operations
from lalm.measure import worker


def count(jaxpr: Any, closed_form: Any) -> dict[str, Any]:
  """Counts for a record; None and the reason where they cannot be read.

  Args:
    jaxpr: of the program, closed.
    closed_form: its cost, or None without a model.
  """
  model = None if closed_form is None else closed_form.products
  try:
    counted = operations.count_jaxpr(jaxpr)
  except operations.UnreadableError as problem:
    reason = worker.reason_of(problem)
    unknown = {"products": None, "elementwise": None, "reason": reason}
    return {**unknown, "closed_form": model}
  return {
      "products": counted.products,
      "closed_form": model,
      "elementwise": counted.elementwise,
  }


def size(program: Any, jaxpr: Any, closed_form: Any) -> int:
  """Bytes: inputs, and what the closed form or the largest array tells of.

  Args:
    program: with its `arguments`, and `backward` where it may be a gradient.
    jaxpr: of the program, closed.
    closed_form: its cost, or None without a model.
  """
  leaves = jax.tree.leaves(program.arguments)
  given = sum(a.size * a.dtype.itemsize for a in leaves)
  if closed_form is not None:
    return given + int(closed_form.bytes)
  copies = 4 if getattr(program, "backward", False) else 2
  return given + copies * operations.largest_array(jaxpr)
