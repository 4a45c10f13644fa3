"""A sequence made token by token by a small model, with a state or without.

The model is a `decoder`. Forms:

  state      each token is a call with the state of every layer: a cache of
             softmax, sums of linear attention
  stateless  each token is a call on all tokens before it, as without a cache:
             the sum over prefixes, from `NODES` of them by Gauss's rule
  whole      the same, each prefix run

Each is called from Python, as a program that samples is.
"""

import dataclasses
import functools
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import catalogue
from lalm.measure import decoder
from lalm.measure import error
from lalm.measure import kernel
from lalm.measure import keys
from lalm.measure import samples
from lalm.measure import timing
from lalm.measure import tolerances

NODES = 12  # prefixes of the integral
FORMS = ("state", "stateless", "whole")

_GATE = 24  # tokens on which forms are compared
_WARM = 8  # tokens made before the clock starts
# To plan with: seconds of a token with a state, of one in a layer of a prefix,
# and of compiling for a prefix.
_SECONDS, _LAYER, _COMPILING = 2e-3, 2e-5, 0.5
_RUNS = 4  # of a prefix: once to warm up and three times timed


def names() -> tuple[str, ...]:
  """Returns the mechanisms that a model is made of: no gates but a state."""
  return tuple(n for n in catalogue.names() if _fits(catalogue.get(n)))


def _fits(mechanism: catalogue.Mechanism) -> bool:
  steps = "step" in mechanism.forms and mechanism.start is not None
  return steps and not mechanism.gates


def get(name: str) -> catalogue.Mechanism:
  """Returns a mechanism whose forms are ways to generate.

  Raises:
    ValueError: no such mechanism, or one with gates or without a state.
  """
  mechanism = catalogue.get(name)
  if not _fits(mechanism):
    raise ValueError(
        f"mechanism: expected one with a state and no gates, got {name!r}"
    )
  forms = {form: mechanism.forms["step"] for form in FORMS}
  return dataclasses.replace(
      mechanism, forms=forms, featured=FORMS[:2], laws={}
  )


def nodes(length: int) -> tuple[list[int], list[float]]:
  """Returns prefixes, and weights whose sum of times is that of all prefixes.

  Gauss and Legendre's rule on [1/2, length + 1/2], the nodes rounded; all
  prefixes where two nodes might be one.

  Args:
    length: of the longest prefix.
  """
  if length <= 2 * NODES:
    return list(range(1, length + 1)), [1.0] * length
  places, weights = np.polynomial.legendre.leggauss(NODES)
  prefixes = np.rint((length + 1 + length * places) / 2).astype(int)
  return prefixes.tolist(), (weights * length / 2).tolist()


def shares(point: kernel.Point) -> tuple[list[int], list[float]]:
  """Returns the prefixes that a point runs, and each one's share of the sum."""
  if point["form"] == "stateless":
    return nodes(point["length"])
  return list(range(1, point["length"] + 1)), [1.0] * point["length"]


def _predicted_seconds(point: kernel.Point) -> float:
  if point["form"] == "state":
    return _SECONDS * point["length"]
  prefixes, _ = shares(point)
  calls = _RUNS * _LAYER * point["layers"] * sum(prefixes)
  return calls + _COMPILING * len(prefixes)


class Target(kernel.Target):
  """Plans and measures sequences."""

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """Key, and predicted bytes and seconds of a sequence."""
    del settings
    with kernel.precision(point):
      weights = jax.eval_shape(lambda: decoder.model(point))
      states = jax.eval_shape(lambda: decoder.states(point))
      token = jax.ShapeDtypeStruct((point["batch"], 1), jnp.int32)
      place = jax.ShapeDtypeStruct((), jnp.int32)
      one = decoder.with_state(point).lower(states, weights, token, place)
      D = point["heads"] * point["width"]
      x = lambda t: jax.ShapeDtypeStruct((point["batch"], t, D), point["dtype"])
      layers = [
          decoder.one_layer(point).lower(weights.layers[0], x(t)).as_text()
          for t in (_GATE, point["length"])
      ]
    size = lambda tree: sum(x.size * 4 for x in jax.tree.leaves(tree))
    own = (Target.measure, _verdict, _with_state, _prefixes, shares)
    code = keys.code(*own, decoder, timing)
    return {
        "key": keys.of(point, one.as_text(), *layers, code),
        "bytes": size(weights) + 2 * size(states),
        "seconds": _predicted_seconds(point),
        "repeats": 1,
    }

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one sequence in this process."""
    with kernel.precision(point):
      kernel.use_cache(settings.get("cache"))
      weights = decoder.model(point)
      key = self.plan(point, settings)["key"]
      record = kernel.identity(point, replicate, key)
      record |= kernel.outcome(_verdict(point, weights))
      if record["status"] != "ok":
        return record
      if point["form"] == "state":
        return {**record, "seconds": [_with_state(point, weights)], "calls": 1}
      each = _prefixes(point, weights, settings.get("point_budget", 2.0))
      return {**record, **each}


def _verdict(point: kernel.Point, weights: decoder.Model) -> error.Verdict:
  """Whether scores with a state are those without, after some tokens."""
  count = min(_GATE, point["length"])
  tokens = np.random.default_rng(point["seed"]).integers(
      decoder.VOCABULARY, size=(point["batch"], count), dtype=np.int32
  )
  run, states = decoder.with_state(point), decoder.states(point)
  for place in range(count):
    (_, found), states = run(
        states, weights, tokens[:, place : place + 1], np.int32(place)
    )
  _, expected = decoder.stateless(point)(weights, tokens)
  relative = samples.relative_rms(
      np.asarray(found, np.float64), np.asarray(expected, np.float64)
  )
  # Each layer rounds anew.
  tolerance = point["layers"] * tolerances.forward(
      point["dtype"], count, jax.default_backend()
  )
  return error.verdict("scores", relative, tolerance)


def _with_state(point: kernel.Point, weights: decoder.Model) -> float:
  """Seconds of a sequence, a call a token."""
  run, seconds = decoder.with_state(point), 0.0
  for count in (_WARM, point["length"]):
    states = jax.block_until_ready(decoder.states(point))
    token = jnp.zeros((point["batch"], 1), jnp.int32)
    start = time.perf_counter()
    for place in range(count):
      (token, _), states = run(states, weights, token, np.int32(place))
      token.block_until_ready()  # a program that samples must know it
    seconds = time.perf_counter() - start
  return seconds


def _prefixes(
    point: kernel.Point, weights: decoder.Model, budget: float
) -> dict[str, Any]:
  """Seconds of a sequence without a state, and of each prefix it is of."""
  prefixes, each_share = shares(point)
  run, each = decoder.stateless(point), []
  for length in prefixes:
    tokens = jnp.zeros((point["batch"], length), jnp.int32)
    call = functools.partial(run, weights, tokens)
    jax.block_until_ready(call())
    if point["form"] == "whole":
      timed = timing.measure(call, budget=0.0)  # as few calls as will do
      jax.clear_caches()  # a process has room for some hundreds of programs
    else:
      timed = timing.measure(call, budget=budget / NODES)
    each.append(statistics.median(timed.seconds))
  total = float(np.dot(each_share, each))
  by_prefix = dict(zip(map(str, prefixes), each, strict=True))
  return {"seconds": [total], "calls": 1, "prefixes": by_prefix}


TARGET = Target()
