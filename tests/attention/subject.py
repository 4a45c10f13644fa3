"""Runs a form on a case, and its oracle beside it.

`step` takes one token; here it is scanned, so that it meets the same theorems
as the forms that take a sequence. Results are kept for the length of the
process: several tests look at one compiled call.
"""

from collections.abc import Callable
import contextlib
import dataclasses
import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import catalogue
from lalm.attention import local
from lalm.attention import nystromformer
from lalm.attention import variants
from lalm.attention import window
from tests.attention import cases
from tests.oracles import buckets
from tests.oracles import compressed
from tests.oracles import differences
from tests.oracles import hierarchical
from tests.oracles import linear
from tests.oracles import maps
from tests.oracles import recurrences
from tests.oracles import softmax

# Most proofs are compiled for quick compilation, not for speed. What users run
# is compiled as they compile it on the longest sequences of every dtype, in
# the tests of causality and in the portable ones.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
}


def _performer(x: np.ndarray) -> np.ndarray:
  (w,) = variants.performer_features(x.shape[-1]).args
  return maps.favor_positive(x, w)


def _recurrence(name: str) -> Callable[..., np.ndarray]:
  def attention(q, k, v, *, causal, **named):
    assert causal
    return recurrences.RECURRENCES[name](q, k, v, **named).out

  return attention


MAPS = {
    "performer": dict(feature_map=_performer),
    "based": dict(feature_map=maps.taylor),
    "dpfp": dict(feature_map=maps.dpfp),
    "hedgehog": dict(feature_map=maps.hedgehog),
    "cosine": dict(feature_map=maps.unit, normalize=False),
}
ORACLES = {
    "softmax": softmax.attention,
    "window": functools.partial(softmax.attention, window=window.WINDOW),
    "linear": linear.attention,
    **{
        name: functools.partial(linear.attention, **named)
        for name, named in MAPS.items()
    },
    "loglinear": hierarchical.attention,
    "lsh": functools.partial(buckets.attention, window=local.WINDOW),
    "linformer": compressed.linformer,
    "nystromformer": functools.partial(
        compressed.nystromformer, landmarks=nystromformer.LANDMARKS
    ),
    **{name: _recurrence(name) for name in recurrences.RECURRENCES},
}


class Derivatives(NamedTuple):
  """What differentiation gives for the loss sum(cotangent * out)."""

  gradient: Any
  tangent: Any
  hessian: Any


def pairs(got: Derivatives, expected: Derivatives):
  """Yields a name and the two arrays for each array of both."""
  for what in Derivatives._fields:
    mine = jax.tree.leaves(getattr(got, what))
    theirs = jax.tree.leaves(getattr(expected, what))
    for number, both in enumerate(zip(mine, theirs, strict=True)):
      yield f"{what} {number}", *both


def precision(case: cases.Case) -> contextlib.AbstractContextManager:
  """64-bit arrays where the case asks for them."""
  if case.dtype == "float64":
    return jax.enable_x64(True)
  return contextlib.nullcontext()


def jit(function: Callable[..., Any], case: cases.Case) -> Any:
  """Compiles; quickly where the case is short."""
  quick = case.length < 1000
  return jax.jit(function, compiler_options=QUICK if quick else None)


def own(name: str) -> bool:
  """Whether the mechanism is the user's own, given with `--mechanism`."""
  return ":" in name


def definition(name: str) -> str:
  """The name of the form that is the definition."""
  entry = catalogue.get(name)
  for form, function in entry.forms.items():
    if function is entry.definition:
      return form
  return "definition"


def function(name: str, form: str) -> Callable[..., Any]:
  """A form by its name; "definition" where that is not one of the forms."""
  entry = catalogue.get(name)
  return entry.forms[form] if form in entry.forms else entry.definition


def accepts(name: str, form: str, argument: str) -> bool:
  """Whether a form takes the keyword argument."""
  return argument in inspect.signature(function(name, form)).parameters


def computes(name: str, form: str | None, case: cases.Case) -> bool:
  """Whether the case is within what the mechanism and the form take."""
  entry = catalogue.get(name)
  form = definition(name) if form is None else form
  needed = ["scale"] * (case.scale is not None)
  needed += ["segment_ids"] * case.packed
  needed += ["state"] * bool(case.split or form == "step")
  if case.blocks and entry.full:  # as softmax and linear attention
    return False
  if "state" in needed and entry.start is None:
    return False
  if case.keys not in (None, case.length) and not entry.cross:
    return False
  if not (entry.causal if case.causal else entry.full and form != "step"):
    return False
  if not all(accepts(name, form, argument) for argument in needed):
    return False
  # One's own mechanism may have as many key heads as query heads only.
  return not (own(name) and (case.kv_heads or case.keys)) or _traces(
      name, form, case
  )


def _traces(name: str, form: str, case: cases.Case) -> bool:
  """Whether one's own form takes the shapes of the case."""
  try:
    with precision(case):
      inputs = tuple(cases.make(name, case))
      out, _ = jax.eval_shape(
          lambda inputs: apply(name, form, case, inputs), inputs
      )
  except (TypeError, ValueError):
    return False
  return out.shape == cotangent(case).shape


def options(name: str, form: str, case: cases.Case) -> dict[str, Any]:
  """The keyword arguments of the case that are not arrays."""
  chosen: dict[str, Any] = {}
  if accepts(name, form, "causal") and form != "step":
    chosen["causal"] = case.causal
  if case.scale is not None:
    chosen["scale"] = case.scale
  if case.chunk is not None and accepts(name, form, "chunk"):
    chosen["chunk"] = case.chunk
  return chosen | small(name, case)


def small(name: str, case: cases.Case) -> dict[str, Any]:
  """What else a mechanism takes: sizes within those of the case, and labels."""
  short = case.length < 1000
  if name == "nystromformer" and short:
    return {"landmarks": min(5, case.length, case.sources)}
  named = {"window": 10} if name in ("window", "lsh") and short else {}
  if name == "lsh":
    groups = case.kv_heads or case.heads
    shape = (case.batch, case.sources, groups, 2)
    draw = np.random.default_rng(case.seed + 3).integers
    named["buckets"] = draw(0, 3 if short else 16, shape, np.int32)
  return named


def blank(name: str, case: cases.Case) -> Any:
  """The state before the first token."""
  return catalogue.get(name).init(
      case.batch,
      case.kv_heads or case.heads,
      case.width,
      case.value_width,
      capacity=case.sources,
      dtype=case.dtype,
      **small(name, case),
  )


def timed(x: Any) -> bool:
  """Whether an input has an axis of tokens; a gate `[G, K]` has none."""
  return x.ndim > 2 or np.issubdtype(x.dtype, np.integer)


def part(tree: Any, start: int, stop: int) -> Any:
  return jax.tree.map(lambda x: x[:, start:stop] if timed(x) else x, tree)


def call(function, form, inputs, state, chosen):
  """One call over all tokens of `inputs`; `step` is scanned over them."""
  arrays, gates, ids = inputs
  named = dict(gates) if ids is None else {**gates, "segment_ids": ids}
  if form != "step":
    given = {} if state is None else {"state": state}
    result = function(*arrays, **named, **given, **chosen)
    # One's own form may return its output alone.
    return (result, None) if isinstance(result, jax.Array) else tuple(result)

  fixed = {key: x for key, x in named.items() if not timed(x)}
  named = {key: x for key, x in named.items() if timed(x)}

  def body(state, token):
    arrays, named = jax.tree.map(lambda x: x[:, None], token)
    out, state = function(*arrays, state=state, **named, **fixed, **chosen)
    return state, out[:, 0]

  tokens = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (arrays, named))
  state, out = jax.lax.scan(body, state, tokens)
  return jnp.moveaxis(out, 0, 1), state


def apply(name: str, form: str, case: cases.Case, inputs, **extra):
  """`(out, state)` of a form on the case; out of both halves if it is split."""
  called = function(name, form)
  chosen = {**options(name, form, case), **extra}
  if not case.split and form != "step":
    return call(called, form, inputs, None, chosen)
  state, outs = blank(name, case), []
  for start, stop in ((0, case.split), (case.split, case.length)):
    if start < stop:
      piece = part(tuple(inputs), start, stop)
      out, state = call(called, form, piece, state, chosen)
      outs.append(out)
  return jnp.concatenate(outs, axis=1), state


def oracle(name: str, case: cases.Case, inputs, **extra) -> np.ndarray:
  """The output in float64, whole: by NumPy, or by the user's definition."""
  arrays, gates, ids = inputs
  arrays = [np.asarray(x, np.float64) for x in arrays]
  chosen = {"causal": case.causal, **small(name, case), **extra}
  if case.scale is not None:
    chosen["scale"] = case.scale
  if name in ORACLES:
    return ORACLES[name](*arrays, segment_ids=ids, **gates, **chosen)
  named = {key: np.asarray(gate, np.float64) for key, gate in gates.items()}
  if ids is not None:
    named["segment_ids"] = ids
  with jax.enable_x64(True):
    result = catalogue.get(name).definition(*arrays, **named, **chosen)
    return np.asarray(getattr(result, "out", result))


@functools.cache
def values(name: str, form: str, case: cases.Case):
  """`(inputs, out, state)` of a form on the inputs of a case, compiled."""
  with precision(case):
    inputs = cases.make(name, case)
    run = jit(lambda inputs: apply(name, form, case, inputs), case)
    out, state = run(tuple(inputs))
    return inputs, np.asarray(out), jax.tree.map(np.asarray, state)


def cotangent(case: cases.Case) -> np.ndarray:
  """The seeded weights of the loss."""
  shape = (case.batch, case.length, case.heads, case.value_width)
  return np.random.default_rng(case.seed + 1).standard_normal(shape)


def directions(name: str, case: cases.Case, seed: int) -> list[np.ndarray]:
  """Random directions of q, k, v and the gates, in the order of leaves.

  What moves all tokens at once moves 1 / T as far: a state is a product of T
  decays, which differences of a longer step do not resolve.
  """
  with precision(case):
    arrays, gates, _ = cases.make(name, case)
  layouts = catalogue.get(name).layouts
  names = [*"qkv", *sorted(gates)]
  drawn = differences.directions(seed, jax.tree.leaves((arrays, gates)))
  return [
      x if "T" in layouts[key] else x / case.length
      for key, x in zip(names, drawn, strict=True)
  ]


def widened(case: cases.Case) -> cases.Case:
  """The case in float64."""
  return dataclasses.replace(case, dtype="float64")


@functools.cache
def derivatives(
    name: str, form: str, case: cases.Case, exact: bool = False
) -> Derivatives:
  """Gradient, jvp and Hessian-vector product of a form, compiled as one.

  With `exact`, in float64 at the inputs that the case has rounded.
  """
  with precision(case):
    arrays, gates, ids = cases.make(name, case)
  if exact:
    case = widened(case)
    arrays, gates = jax.tree.map(
        lambda x: x.astype(case.dtype), (arrays, gates)
    )
  with precision(case):
    place = (arrays, gates)
    structure = jax.tree.structure(place)
    direction = jax.tree.unflatten(
        structure, directions(name, case, case.seed + 2)
    )
    weights = jnp.asarray(cotangent(case), case.dtype)
    direction = jax.tree.map(lambda x: jnp.asarray(x, case.dtype), direction)

    def run(place, direction):
      def out(place):
        return apply(name, form, case, (*place, ids))[0]

      def loss(place):
        return jnp.sum(out(place) * weights)

      tangent = jax.jvp(out, (place,), (direction,))[1]
      gradient = jax.grad(loss)
      hessian = jax.jvp(gradient, (place,), (direction,))[1]
      return Derivatives(gradient(place), tangent, hessian)

    return jax.tree.map(np.asarray, jit(run, case)(place, direction))
