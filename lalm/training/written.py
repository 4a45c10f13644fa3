"""One model written in several ways: what they share, and whether they agree.

The forms are `lalm`, `plain` (by hand in JAX) and `torch`. A form is compared
with the model written otherwise: the loss of its first call, at the full
length, and on a short batch the gradients, in float64. These may be a few times
as far off as those of the model written otherwise in the same dtype: where a
norm divides by what is nearly 0, as after a first token of the delta rule, no
model is near.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import catalogue
from lalm.data.batches import Batch
from lalm.measure import error
from lalm.measure import kernel
from lalm.measure import samples
from lalm.measure import tolerances
from lalm.models import transformer
from lalm.models.sizes import Sizes
from lalm.training import language
from lalm.training import plain
from lalm.training import pytorch
from lalm.training import step

OURS, HAND, TORCH = "lalm", "plain", "torch"
_GATE = 300  # tokens whose gradients are compared: several chunks of most forms
_AS_GOOD = 10  # times the error of the model written otherwise


def model(point: kernel.Point) -> Sizes:
  """Returns the model of a point, as `experiments.train_lm` trains it."""
  return language.Task().sizes(point)


def parameters(point: kernel.Point) -> Any:
  """Returns those of a point's seed."""
  return transformer.init(jax.random.key(point["seed"]), model(point))


def batch(point: kernel.Point) -> Batch:
  """Returns random tokens: a step takes as long whatever they are."""
  drawn = np.random.default_rng([point["seed"], point["length"]])
  shape = (point["batch"], point["length"] + 1)
  whole = drawn.integers(point["vocabulary"], size=shape, dtype=np.int32)
  weights = np.ones((shape[0], shape[1] - 1), np.float32)
  return Batch(whole[:, :-1], whole[:, 1:], weights)


def verdict(point: kernel.Point, first: float) -> error.Verdict:
  """Returns whether loss and gradients are those of one written otherwise.

  Args:
    point: of the form.
    first: loss of its first call.
  """
  wanted = float(jax.jit(_otherwise(point))(parameters(point), batch(point)))
  # Each layer rounds anew, and so does what is behind it.
  rounds, device = 2 * point["layers"], jax.default_backend()
  allowed = functools.partial(
      tolerances.gradient, point["dtype"], ours=point["form"] == OURS
  )
  loss = error.verdict(
      "loss",
      abs(first - wanted) / abs(wanted),
      rounds * allowed(point["length"], device),
  )
  if loss.status != "ok":
    return loss
  short = {**point, "length": min(_GATE, point["length"]), "batch": 1}
  relative, others = _errors(tuple(sorted(short.items())))
  tolerance = max(rounds * allowed(_GATE, device), _AS_GOOD * others)
  return error.verdict("gradients", relative, tolerance)


@functools.cache  # nearly all lengths of a sweep share it
def _errors(items: tuple[tuple[str, Any], ...]) -> tuple[float, float]:
  """Errors of a point's gradients, and of those of the model written otherwise.

  An error is the greatest relative RMS of a parameter's gradient to that of the
  model written otherwise in float64.
  """
  point = dict(items)
  own, tokens = parameters(point), batch(point)
  with jax.enable_x64(True):
    wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), own)
    loss = _otherwise({**point, "dtype": "float64"})
    expected = _gradients(loss, wide, tokens)
  found = _own_gradients(point, own, tokens)
  others = _gradients(_otherwise(point), own, tokens)
  return _farthest(found, expected), _farthest(others, expected)


def _farthest(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
  pairs = zip(found, expected, strict=True)
  # NaN is the greatest of all to NumPy, not to Python.
  return float(np.max([samples.relative_rms(x, y) for x, y in pairs]))


def _own_gradients(
    point: kernel.Point, own: Any, tokens: Batch
) -> list[np.ndarray]:
  """Gradients by the form of a point."""
  if point["form"] == TORCH:
    shape = point["heads"], point["layers"], point["length"]
    found = pytorch.gradients(pytorch.Model(own, *shape), tokens)
    return [x.astype(np.float64) for x in found]
  loss = _by_hand(point) if point["form"] == HAND else _mean(model(point))
  return _gradients(loss, own, tokens)


def _gradients(
    loss: Callable[[Any, Batch], jax.Array], own: Any, tokens: Batch
) -> list[np.ndarray]:
  """Gradients of a loss, leaf by leaf."""
  found = jax.tree.leaves(jax.jit(jax.grad(loss))(own, tokens))
  return [np.asarray(x, np.float64) for x in found]


def _otherwise(point: kernel.Point) -> Callable[[Any, Batch], jax.Array]:
  """A point's loss by hand where that is written, else by other forms."""
  if point["mechanism"] in plain.MIXERS and point["form"] != HAND:
    return _by_hand(point)
  own = model(point)
  if point["form"] == HAND:
    return _mean(own)
  other = tuple(f"{name}.{_other(name)}" for name in own.mixers)
  return _mean(dataclasses.replace(own, mixers=other))


def _other(name: str) -> str:
  """The form that computes otherwise than the one that trains."""
  forms = catalogue.get(name).forms
  return "recurrent" if "recurrent" in forms else next(iter(forms))


def _by_hand(point: kernel.Point) -> Callable[[Any, Batch], jax.Array]:
  mixer, heads, layers = (point[n] for n in ("mechanism", "heads", "layers"))
  return lambda own, tokens: plain.loss(own, tokens, mixer, heads, layers)


def _mean(sizes: Sizes) -> Callable[[Any, Batch], jax.Array]:
  total = step.cross_entropy(sizes)
  return lambda own, tokens: total(own, tokens) / tokens.weights.sum()
