"""One token more at a context of n, and the prefill that leads there.

The pass `step` is a compiled scan of steps from a state that holds the tokens
before; the state is donated, so that a cache is written in place. Its seconds,
products and calls are of one token, its memory is that of the state and what a
step needs beside it. The pass `prefill` is the fast form over all n tokens,
which returns the last one's output and the state.

    time per token, n tokens = prefill(n) / n,   the next one = step(n)
"""

import dataclasses
from typing import Any, Mapping, NamedTuple, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from lalm.attention import catalogue
from lalm.attention import costs
from lalm.measure import error
from lalm.measure import kernel
from lalm.measure import memory
from lalm.measure import peak_memory
from lalm.measure import points
from lalm.measure import steps

FORM = "decode"
PASSES = ("step", "prefill")

_BANDWIDTH = 4e9  # bytes per second of a state read and written, to plan with
_TOKEN = 2e-5  # seconds of a step that has next to nothing to do


class Program(NamedTuple):
  """What is lowered: a function of a state, if it takes one, and of arrays."""

  function: Any
  arguments: tuple[Any, ...]


def names() -> tuple[str, ...]:
  """Returns the mechanisms that decode: those with a state and a step."""
  return tuple(n for n in catalogue.names() if _decodes(catalogue.get(n)))


def _decodes(mechanism: catalogue.Mechanism) -> bool:
  return "step" in mechanism.forms and mechanism.start is not None


def get(name: str) -> catalogue.Mechanism:
  """Returns a mechanism whose one form is decoding.

  Raises:
    ValueError: no such mechanism, or one without a state or a step.
  """
  mechanism = catalogue.get(name)
  if not _decodes(mechanism):
    raise ValueError(
        f"mechanism: expected one with a state and a step, got {name!r}"
    )
  forms = {FORM: mechanism.forms["step"]}
  return dataclasses.replace(mechanism, forms=forms, featured=(), laws={})


class Target(kernel.Target):
  """Plans and measures points of decoding."""

  def measure(
      self, point: kernel.Point, replicate: int, settings: kernel.Settings
  ) -> dict[str, Any]:
    """The record of one point in this process, by the token in a step."""
    return self.by_token(point, super().measure(point, replicate, settings))

  def by_token(
      self, point: kernel.Point, record: dict[str, Any]
  ) -> dict[str, Any]:
    """The record of a call, measured or compiled, by the token in it."""
    if record["status"] != "ok":
      return record
    tokens = _tokens(point)
    state = _size(self.find(point["mechanism"]), point)
    found = {**record, "state_bytes": state}
    for name in ("operations", "estimate"):
      if name in record:
        found[name] = {n: _over(x, tokens) for n, x in record[name].items()}
    if "seconds" in record:
      found["seconds"] = [_over(x, tokens) for x in record["seconds"]]
      found["calls"] = record["calls"] * tokens
    if own := record.get("device_time"):
      own = {**own, "seconds": _over(own["seconds"], tokens)}
      found["device_time"] = own
    return found

  def plan(
      self, point: kernel.Point, settings: kernel.Settings
  ) -> dict[str, Any]:
    """As of attention; seconds are of a token, of which a call has several."""
    planned = super().plan(point, settings)
    return {**planned, "repeats": planned["repeats"] * _tokens(point)}

  def _memory(
      self,
      point: kernel.Point,
      mechanism: Any,
      ready: kernel.Compiled,
      settings: kernel.Settings,
  ) -> dict[str, Any]:
    found = super()._memory(point, mechanism, ready, settings)
    if point["pass"] == "prefill" or found["peak_bytes"] is None:
      return found
    # Written where it is, the state is an argument; the other figures have it.
    peak = found["peak_bytes"] + _size(mechanism, point)
    flag = memory.flag(peak, found, found["closed_form_bytes"])
    return {**found, "peak_bytes": peak, "flag": flag}

  def _program(self, point: kernel.Point, mechanism: Any) -> Program:
    shapes = _shapes(point, mechanism)
    if point["pass"] == "prefill":
      return Program(_prefill(mechanism), shapes)
    arrays = jax.eval_shape(
        lambda *arrays: _cut(mechanism, arrays, point, last=True), *shapes
    )
    state = jax.eval_shape(lambda: _blank(mechanism, point))
    return Program(_scan(mechanism), (state, *arrays))

  def _cost(self, point: kernel.Point, mechanism: Any) -> costs.Cost | None:
    """Products of the scan; a prefill's also make the state."""
    if point["pass"] == "prefill":
      return None
    names = "batch length heads width value_width dtype".split()
    cost = mechanism.cost("step", **{name: point[name] for name in names})
    if cost is None:
      return None
    return cost._replace(products=cost.products * _tokens(point))

  def _predicted_seconds(
      self, point: kernel.Point, counted: Mapping[str, Any]
  ) -> float | None:
    if point["pass"] == "prefill":
      return super()._predicted_seconds(point, counted)
    size = _size(self.find(point["mechanism"]), point)
    return _TOKEN + size / _BANDWIDTH

  def _ready(
      self,
      point: kernel.Point,
      mechanism: Any,
      program: Program,
      compiled: Any,
      record: dict[str, Any],
  ) -> kernel.Compiled:
    inputs = points.inputs(point, mechanism)
    given: Sequence[np.ndarray] = inputs
    step = point["pass"] == "step"
    if step:
      given = _cut(mechanism, inputs, point, last=True)
    arrays: list[Any] = [jax.device_put(array) for array in given]
    jax.block_until_ready(arrays)
    state = [_before(mechanism, inputs, point)] if step else []
    run = self._run(point, compiled, state + arrays)
    return kernel.Compiled(program, compiled, inputs, arrays, record, run)

  def _run(
      self, point: kernel.Point, compiled: Any, arguments: Sequence[Any]
  ) -> Any:
    """As of attention; a step's state is what the one before has left."""
    if point["pass"] == "prefill":
      return super()._run(point, compiled, arguments)
    state, *arrays = arguments
    return _Decoder(compiled, state, arrays)

  def _gate(
      self,
      point: kernel.Point,
      mechanism: Any,
      ready: kernel.Compiled,
      seed: Sequence[int],
  ) -> error.Verdict:
    length, out = point["length"], np.asarray(ready.run()[0])
    return error.check_forward(
        out,
        ready.inputs,
        kernel.reference(mechanism),
        causal=True,
        seed=seed,
        device=jax.default_backend(),
        ours=self._ours(point),
        layouts=mechanism.layouts,
        rows=np.arange(length - out.shape[1], length),
    )


def _over(value: Any, tokens: int) -> Any:
  """A number of a call, by the token; what is no number as it is."""
  if isinstance(value, dict):  # of collectives, by kind
    return {name: _over(x, tokens) for name, x in value.items()}
  number = isinstance(value, (int, float))
  return value / tokens if number else value


class _Decoder:
  """Runs a scan of steps again and again, always at the same place."""

  def __init__(
      self, call: Any, state: Any, arrays: Sequence[jax.Array]
  ) -> None:
    self._call, self._state, self._arrays = call, state, arrays
    jax.block_until_ready(state)

  def __call__(self) -> tuple[jax.Array, Any]:
    out, self._state = self._call(self._state, *self._arrays)
    return out, self._state


def _scan(mechanism: catalogue.Mechanism) -> Any:
  """Returns a program from a state, which it takes over, and tokens to both."""
  form = steps.scan(mechanism)

  def run(state: Any, q: Any, k: Any, v: Any, *gates: Any) -> tuple[Any, Any]:
    named = dict(zip(mechanism.gates, gates))
    out, new = form(q, k, v, state=state, **named)
    # What is counted stays where it was: a cache would be full in the end.
    sums = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)
    kept = jax.tree.map(lambda x, old: x if sums(x) else old, new, state)
    return out, kept

  return jax.jit(run, donate_argnums=0)


def _prefill(mechanism: catalogue.Mechanism) -> Any:
  """Returns a program from all tokens to the last one's output and a state."""
  form = mechanism.forms[mechanism.featured[-1]]

  def run(q: Any, k: Any, v: Any, *gates: Any) -> tuple[Any, Any]:
    out, state = form(q, k, v, **dict(zip(mechanism.gates, gates)))
    return out[:, -1:], state

  return jax.jit(run)


def _before(
    mechanism: catalogue.Mechanism,
    arrays: Sequence[np.ndarray],
    point: kernel.Point,
) -> Any:
  """The state that the steps begin from, with room for them."""
  form = mechanism.forms[mechanism.featured[-1]]

  @jax.jit
  def run(q: Any, k: Any, v: Any, *gates: Any) -> Any:
    state = _blank(mechanism, point)
    named = dict(zip(mechanism.gates, gates))
    return form(q, k, v, state=state, **named).state

  if _tokens(point) == point["length"]:
    return _blank(mechanism, point)
  return run(*_cut(mechanism, arrays, point, last=False))


def _tokens(point: Mapping[str, Any]) -> int:
  """Tokens in a call: those that are scanned, or 1 where nothing is."""
  if point["pass"] == "prefill":
    return 1
  return min(point["tokens"], point["length"])


def _shapes(
    point: kernel.Point, mechanism: catalogue.Mechanism
) -> tuple[jax.ShapeDtypeStruct, ...]:
  """Shapes of q, k, v and the gates of all tokens."""
  form = mechanism.featured[-1]
  known = {**point, "form": form, "pass": "forward"}
  return points.program(known, mechanism).inputs


def _cut(
    mechanism: catalogue.Mechanism,
    arrays: Sequence[Any],
    point: kernel.Point,
    last: bool,
) -> list[Any]:
  """The arrays of the tokens that are scanned, or of those before."""
  first = point["length"] - _tokens(point)
  cut = slice(first, None) if last else slice(first)
  return [
      x[(slice(None),) * layout.index("T") + (cut,)] if "T" in layout else x
      for x, layout in zip(arrays, mechanism.layouts.values())
  ]


def _blank(mechanism: catalogue.Mechanism, point: Mapping[str, Any]) -> Any:
  """The state before the first token, with room for all."""
  sizes = (point[n] for n in ("batch", "heads", "width", "value_width"))
  return mechanism.init(*sizes, capacity=point["length"], dtype=point["dtype"])


def _size(mechanism: catalogue.Mechanism, point: kernel.Point) -> int:
  """Bytes of the state."""
  with kernel.precision(point):
    state = jax.eval_shape(lambda: _blank(mechanism, point))
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))


TARGET = Target()
PEAK = peak_memory.Peak(TARGET)
