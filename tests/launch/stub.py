"""A measuring target and a catalogue without JAX; every mechanism misbehaves.

What a mechanism does is its name; it does so from length 64 on. Variables of
the environment:

  STUB_SECONDS   duration of a measurement
  STUB_LOG       file that gets a line of JSON for each measurement begun
  STUB_UNREADY   if set, workers cannot start
  STUB_MEMORY    how memory is measured, if not by a mark that can be reset
  STUB_PLACE, STUB_PEAK_PLACE
                 what workers, and those that read peaks, say of their device
"""

import importlib
import json
import os
import signal
import sys
import time
import types

FROM = 64  # the length from which a mechanism misbehaves
SLEEP = 3600.0


def _direct(q, k, v, *, causal=True):
  del q, k, v, causal


def _chunked(q, k, v, *, causal=True, chunk=None):
  del q, k, v, causal, chunk


def _mechanism(*forms):
  table = {"direct": _direct, "chunked": _chunked, "silent": _direct}
  return types.SimpleNamespace(
      forms={form: table[form] for form in forms}, featured=("direct",)
  )


OWN = _mechanism("direct")
FORMLESS = types.SimpleNamespace(forms={}, featured=())
MISFEATURED = types.SimpleNamespace(
    forms={"direct": _direct}, featured=("fast",)
)
_NAMES = (
    "steady",
    "wrong",
    "nan",
    "raises",
    "exhausted",
    "hangs",
    "exits",
    "killed",
    "aborts",
    "leaves",
    "silent",
    "garbage",
    "odd",
    "impostor",
    "flaky",
    "unplanned",
    "planless",
    "huge",
    "slow",
    "spoils",
)


def names():
  return _NAMES


def get(name):
  module, _, attribute = name.partition(":")
  if attribute:
    return getattr(importlib.import_module(module), attribute)
  if name not in _NAMES:
    raise ValueError(f"mechanism: expected one of {_NAMES}, got {name!r}")
  return (
      _mechanism("direct", "chunked")
      if name == "steady"
      else _mechanism("direct", "silent")
  )


def _log(entry):
  if path := os.environ.get("STUB_LOG"):
    with open(path, "a", encoding="ascii") as file:
      file.write(json.dumps(entry) + "\n")


def _place(variable):
  """Where a worker says it is, if not where the sweep was surveyed."""
  return json.loads(os.environ.get(variable, "{}"))


class _Target:
  """See `lalm.measure.worker`."""

  spoilt = False  # as a device is after a wrong address

  def surroundings(self):
    found = {
        "device": "stub",
        "machine": "0123456789ab",
        "versions": {"stub": "1"},
        "slug": "Stub  device_2",
    }
    method = os.environ.get("STUB_MEMORY")
    return found | {"memory_method": method} if method else found

  def environment(self):
    if os.environ.get("STUB_UNREADY"):
      raise RuntimeError("the ceilings cannot be measured")
    return self.surroundings() | {
        "ceilings": {"products_per_second": 1.0},
        **_place("STUB_PLACE"),
        "tunables": os.environ.get("GLIBC_TUNABLES", ""),
    }

  def plan(self, point, settings):
    bad = point["length"] >= FROM
    name = point["mechanism"]
    if name == "unplanned" and bad:
      raise ValueError("length: expected less")
    if name == "planless" and bad:
      os._exit(7)
    words = [str(point[field]) for field in sorted(point)]
    key = f"{hash_of(' '.join(words)):016x}"
    return {
        "key": key,
        "bytes": 1 << 60 if name == "huge" and bad else 1 << 20,
        "seconds": 1e6 if name == "slow" and bad else 1e-4,
        "operations": {"products": 1},
        "resumable": bool(os.environ.get("STUB_RESUMABLE")),
    }

  def measure(self, point, replicate, settings):
    _log(
        {
            "mechanism": point["mechanism"],
            "length": point["length"],
            "replicate": replicate,
            "settings": settings,
            "pid": os.getpid(),
        }
    )
    time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
    self.spoilt |= point["mechanism"] == "spoils" and point["length"] >= FROM
    if self.spoilt:
      raise RuntimeError("INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS")
    record = {"status": "ok", "seconds": [1e-4] * 3, "calls": 3}
    if point["length"] < FROM:
      return record
    return record | _misbehave(point["mechanism"], replicate)


def hash_of(text):
  """A small hash that is the same in every process."""
  value = 14695981039346656037
  for byte in text.encode():
    value = (value ^ byte) * 1099511628211 % 2**64
  return value


def _misbehave(name, replicate):
  """The fields that are not as they should be, if it comes back at all."""
  if name == "wrong":
    return {"status": "wrong", "reason": "relative error 1", "seconds": []}
  if name == "nan":
    raise FloatingPointError("the value is not finite")
  if name == "raises":
    raise RuntimeError("first line\nsecond line")
  if name == "exhausted":
    raise MemoryError("cannot allocate")
  if name == "hangs":
    time.sleep(SLEEP)
  if name == "exits":
    print("the last words", file=sys.stderr, flush=True)
    os._exit(3)
  if name == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
  if name == "aborts":
    os.write(2, b"terminate called: std::bad_alloc\n")
    os.abort()
  if name == "leaves":  # a process of its own that outlives it
    if os.fork() == 0:
      time.sleep(SLEEP)
    os._exit(4)
  if name == "silent":  # closes what it answers on
    os.closerange(3, 64)
    time.sleep(SLEEP)
  if name == "garbage":
    os.write(1, b'{"event": "finished", "index": 0}\n\xff\x00{[[[' * 1000)
    print('{"event": "end"}')
  if name == "odd":
    return {"status": "splendid"}
  if name == "impostor":
    return {"key": "mine", "replicate": 99, "point": {}, "experiment": "x"}
  if name == "flaky" and replicate == 0:
    os.kill(os.getpid(), signal.SIGKILL)
  return {}


class _Peak:
  """Reads peaks: of each length its own, if none larger was read before."""

  mark = 0

  def environment(self):
    return _place("STUB_PEAK_PLACE")

  def measure(self, point, replicate, settings):
    del replicate, settings
    _log({"peak": point["length"], "pid": os.getpid()})
    if point["length"] >= FROM:
      _misbehave(point["mechanism"], 0)
    if point["length"] <= self.mark:
      return {"bytes": None, "method": "stub"}
    self.mark = point["length"]
    return {"bytes": point["length"] << 20, "method": "stub"}


TARGET = _Target()
PEAK = _Peak()
