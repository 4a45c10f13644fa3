"""The measuring target of attention: plans and measures points in a worker.

`TARGET` is what `python -m lalm.measure.worker lalm.measure.kernel:TARGET`
runs; see `lalm.measure.worker` for its conversation. A measurement of a point
is, in this order: lower, compile, gate, memory, time.
"""

import contextlib
import functools
import time
from typing import Any, Callable, Mapping, NamedTuple, Sequence

import jax
from jax.experimental.compilation_cache import compilation_cache
import numpy as np

from lalm.attention import catalogue
from lalm.measure import ceilings
from lalm.measure import device_time
from lalm.measure import environment
from lalm.measure import error
from lalm.measure import keys
from lalm.measure import libraries
from lalm.measure import memory
from lalm.measure import peak_memory
from lalm.measure import points
from lalm.measure import predictions
from lalm.measure import samples
from lalm.measure import timing

_OVERHEAD = 2e-5  # seconds of a call that computes nothing
_REACHED = 0.6  # of the rate of a large product; 0.4 to 0.9 is usual
# Element-wise operations per second, as a share of the rate of products.
_ELEMENTWISE = 0.5
_PROFILED = 0.25  # of a point's budget, for a device's own profile of calls
_CALLS = 5  # of a measurement at least: gate, memory and three that are timed

Point = Mapping[str, Any]
Settings = Mapping[str, Any]


class Compiled(NamedTuple):
  """A point ready to run.

  Attributes:
    program: the function before it was lowered.
    call: the compiled function.
    inputs: q, k, v and the gates as NumPy arrays.
    arguments: all its arguments, on the device.
    record: fields known so far.
    run: runs once what is timed.
  """

  program: Any
  call: Any
  inputs: Sequence[np.ndarray]
  arguments: Sequence[jax.Array]
  record: dict[str, Any]
  run: Callable[[], Any]


class Target:
  """Plans and measures points.

  Args:
    find: from a mechanism's name to the mechanism, by default the catalogue's.
  """

  def __init__(self, find: Callable[[str], Any] = catalogue.get) -> None:
    self.find = find
    self._ceilings = functools.cache(ceilings.measure)
    self._rate = functools.cache(ceilings.products)
    self._environment = functools.cache(environment.describe)

  def surroundings(self) -> dict[str, Any]:
    """Where it measures; ceilings take seconds and are with the records."""
    return {
        **self._environment(),
        "memory_method": memory.method(),
        "memory_bytes": memory.limit(),
    }

  def environment(self) -> dict[str, Any]:
    """What a worker says of itself before its first point."""
    return self.surroundings()

  def plan(self, point: Point, settings: Settings) -> dict[str, Any]:
    """Key, operations, predicted peak bytes, seconds of a call, and calls."""
    del settings  # what a point is does not depend on how it is measured
    with precision(point):
      mechanism = self.find(point["mechanism"])
      program = self._program(point, mechanism)
      traced = program.function.trace(*program.arguments)
      closed_form = self._cost(point, mechanism)
      counted = predictions.count(traced.jaxpr, closed_form)
      return {
          "key": keys.of(point, traced.lower().as_text()),
          "operations": counted,
          "bytes": predictions.size(program, traced.jaxpr, closed_form),
          "seconds": self._predicted_seconds(point, counted),
          "repeats": _CALLS,
      }

  def measure(
      self, point: Point, replicate: int, settings: Settings
  ) -> dict[str, Any]:
    """The record of one point in this process."""
    with precision(point):
      use_cache(settings.get("cache"))
      memory.settle()
      mechanism = self.find(point["mechanism"])
      start = time.perf_counter()
      # Before the point's arrays: the largest leave no room for others.
      found = self._ceilings(point["dtype"])
      once = time.perf_counter() - start
      ready = self._made(point, mechanism, replicate)
      record = ready.record | {"ceilings": found}
      memory.expose()
      if settings.get("gate", True):
        start = time.perf_counter()
        seed = [settings.get("seed", 0), replicate, point["seed"]]
        record |= outcome(self._gate(point, mechanism, ready, seed))
        if record["status"] != "ok":
          return record
        once += time.perf_counter() - start
      else:
        jax.block_until_ready(ready.run())
      record["once_seconds"] = once
      record["memory"] = self._memory(point, mechanism, ready, settings)
      memory.settle()
      budget = settings.get("point_budget", 2.0)
      timed = timing.measure(ready.run, budget=budget)
      record |= {"seconds": timed.seconds, "calls": timed.calls}
      record |= profiled(ready.run, min(timed.seconds), budget)
      return {**record, "status": "ok", "reason": ""}

  def peak(self, point: Point, settings: Settings) -> memory.Peak | None:
    """Peak memory of a point, in a process that times nothing.

    None where a point before it has taken as much.
    """
    with precision(point):
      use_cache(settings.get("cache"))
      mechanism = self.find(point["mechanism"])
      program, compiled, _ = self._compile(point, mechanism, 0)
      arguments = memory.zeros(program.arguments)
      return memory.peak(self._run(point, compiled, arguments))

  def by_token(self, point: Point, record: dict[str, Any]) -> dict[str, Any]:
    """A record as it is counted: of a call, unless a target has it else."""
    del point
    return record

  def _made(self, point: Point, mechanism: Any, replicate: int) -> Compiled:
    """A point compiled, with its inputs."""
    made = self._compile(point, mechanism, replicate)
    return self._ready(point, mechanism, *made)

  def _compile(
      self, point: Point, mechanism: Any, replicate: int
  ) -> tuple[Any, Any, dict[str, Any]]:
    """The program, the compiled function and what is known of them."""
    jax.clear_caches()  # else a form traced before would lower faster
    program = self._program(point, mechanism)
    start = time.perf_counter()
    traced = program.function.trace(*program.arguments)
    lowered = traced.lower()
    middle = time.perf_counter()
    loads = _Loads.count
    compiled = lowered.compile()
    end = time.perf_counter()
    loaded = _Loads.count > loads
    record = {
        **identity(point, replicate, keys.of(point, lowered.as_text())),
        "operations": predictions.count(
            traced.jaxpr, self._cost(point, mechanism)
        ),
        "lowering_seconds": None if loaded else middle - start,
        "compile_seconds": None if loaded else end - middle,
    }
    return program, compiled, record

  def _program(self, point: Point, mechanism: Any) -> Any:
    """What is lowered: a `function` under `jax.jit` and its `arguments`."""
    return points.program(point, mechanism)

  def _cost(self, point: Point, mechanism: Any) -> Any:
    """Closed-form products and bytes of the program; None without a model."""
    return points.cost(point, mechanism)

  def _ready(
      self,
      point: Point,
      mechanism: Any,
      program: Any,
      compiled: Any,
      record: dict[str, Any],
  ) -> Compiled:
    """The compiled program with its arguments on the device."""
    inputs = points.inputs(point, mechanism)
    arguments = [jax.device_put(array) for array in inputs]
    if program.backward:
      arguments.append(jax.device_put(points.cotangent(point, program.out)))
    jax.block_until_ready(arguments)
    run = self._run(point, compiled, arguments)
    return Compiled(program, compiled, inputs, arguments, record, run)

  def _run(
      self, point: Point, compiled: Any, arguments: Sequence[Any]
  ) -> Callable[[], Any]:
    """Returns what runs a compiled program once."""
    del point
    return functools.partial(compiled, *arguments)

  def _gate(
      self, point: Point, mechanism: Any, ready: Compiled, seed: Sequence[int]
  ) -> error.Verdict:
    """Runs the compiled function once; compares it with the definition."""

    def call(cotangent: np.ndarray | None) -> list[np.ndarray]:
      if cotangent is None:
        return [np.asarray(ready.run())]
      given = jax.device_put(cotangent)
      inputs = ready.arguments[: len(ready.program.inputs)]
      results = ready.call(*inputs, given)
      return [np.asarray(array) for array in results]

    return error.check(
        call,
        ready.inputs,
        reference(mechanism),
        layouts=mechanism.layouts,
        backward=ready.program.backward,
        causal=point["causal"],
        seed=seed,
        device=jax.default_backend(),
        ours=self._ours(point),
    )

  def _ours(self, point: Point) -> bool:
    """Whether a form is this library's: no user's, no other library's."""
    work = point["mechanism"]
    known = work in catalogue.names()
    return known and (work, point["form"]) not in libraries.FORMS

  def _memory(
      self,
      point: Point,
      mechanism: Any,
      ready: Compiled,
      settings: Settings,
  ) -> dict[str, Any]:
    """The record of a peak, None if it is neither measured here nor told."""
    if memory.method() == "VmHWM":
      measured = memory.peak(ready.run)
    else:
      measured = _told(point, settings)
    figures = memory.compiler(ready.call)
    closed_form = self._cost(point, mechanism)
    modelled = None if closed_form is None else closed_form.bytes
    return {
        "peak_bytes": measured and measured.bytes,
        "method": memory.method(),
        **figures,
        "closed_form_bytes": modelled,
        "flag": memory.flag(measured.bytes, figures, modelled)
        if measured
        else "",
    }

  def _predicted_seconds(
      self, point: Point, counted: Mapping[str, Any]
  ) -> float | None:
    if counted["products"] is None:
      return None
    rate = _REACHED * self._rate(point["dtype"])
    elementwise = counted["elementwise"] / _ELEMENTWISE
    return _OVERHEAD + (counted["products"] + elementwise) / rate


def precision(point: Point) -> contextlib.AbstractContextManager[Any]:
  """Lets JAX keep float64 where a point asks for it."""
  return jax.enable_x64(point["dtype"] == "float64")


class _Loads:
  """How many programs this process has read from its cache."""

  count = 0

  @classmethod
  def listen(cls, event: str, **_: Any) -> None:
    """Hears what JAX tells of itself."""
    cls.count += event == "/jax/compilation_cache/cache_hits"


jax.monitoring.register_event_listener(_Loads.listen)


@functools.lru_cache(maxsize=1)  # a second time it would forget its entries
def use_cache(folder: str | None) -> None:
  """Keeps this process's compiled programs in a folder, or keeps none.

  It is the process of a worker, not the library's user, that is set up here.
  """
  jax.config.update("jax_compilation_cache_dir", folder)
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
  compilation_cache.reset_cache()


def reference(mechanism: Any) -> samples.Reference:
  """Returns a mechanism's reference with gates as `error` passes them."""

  def rows_of(q, k, v, *rest, causal):
    *values, rows = rest
    named = dict(zip(mechanism.gates, values))
    return mechanism.reference(q, k, v, rows, causal=causal, **named)

  return rows_of


def profiled(
    run: Callable[[], Any], seconds: float, budget: float
) -> dict[str, Any]:
  """The device's own time of a call, as a record has it; nothing of a CPU's.

  Args:
    run: runs once what was timed.
    seconds: that a call takes.
    budget: seconds of timing at a point, of which this takes a share.
  """
  if jax.default_backend() == "cpu":
    return {}
  found = device_time.measure(run, seconds, budget * _PROFILED)
  return {"device_time": found}


def identity(point: Point, replicate: int, key: str) -> dict[str, Any]:
  """The fields of a record that say what was measured, and where."""
  return {
      "key": key,
      "replicate": replicate,
      "worker": environment.PROCESS,
      "point": dict(point),
      "machine": environment.fingerprint(),
      "device": jax.default_backend(),
      "versions": environment.versions(),
  }


def outcome(verdict: error.Verdict) -> dict[str, Any]:
  """The fields of a record that say what the gate found."""
  found = verdict._asdict()
  record = {name: found.pop(name) for name in ("status", "reason")}
  return {**record, "error": found}


def _told(point: Point, settings: Settings) -> memory.Peak | None:
  """The peak that another process has read, among those told of."""
  found = (p for asked, p in settings.get("peaks", ()) if asked == point)
  return next((memory.Peak(**peak) for peak in found), None)


TARGET = Target()
PEAK = peak_memory.Peak(TARGET)
