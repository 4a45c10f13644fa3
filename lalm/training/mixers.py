"""Mixers of a whole model by one name: of all its layers, or of a hybrid."""

import dataclasses

from lalm.attention import catalogue

HYBRID = "hybrid"
FORM = "training"  # the one form that a sweep of training runs has
_PERIOD = 4  # layers: three linear ones, then one of softmax


def layers(name: str, count: int) -> tuple[str, ...]:
  """Returns a mixer for each layer.

  Args:
    name: as `get` takes it.
    count: L.

  Raises:
    ValueError: a hybrid of so few that none is of softmax.
  """
  if name != HYBRID:
    return (name,) * count
  if count < _PERIOD:
    raise ValueError(
        f"layers: expected {_PERIOD} or more of a hybrid, got {count}"
    )
  return tuple(
      "softmax" if layer % _PERIOD == 0 else "linear"
      for layer in range(1, count + 1)
  )


def names() -> tuple[str, ...]:
  """Returns what a decoder may be made of: causal mechanisms, and a hybrid."""
  causal = (n for n in catalogue.names() if catalogue.get(n).causal)
  return (*causal, HYBRID)


def get(name: str) -> catalogue.Mechanism:
  """Returns what a sweep asks of a mixer: a mechanism with one form.

  Raises:
    ValueError: no such mechanism, or one that cannot be causal.
  """
  found = catalogue.get("softmax" if name == HYBRID else name)
  if not found.causal:
    raise ValueError(
        f"mechanism: expected one that can be causal, got {name!r}"
    )
  forms = {FORM: found.definition}
  return dataclasses.replace(
      found, name=name, forms=forms, featured=(FORM,), laws={}
  )
