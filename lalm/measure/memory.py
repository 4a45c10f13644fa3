"""Peak memory of one call, beyond what was live when it started.

  VmHWM              Linux: the kernel's high-water mark of this process is
                     reset, the call runs, and the mark is read
  peak_bytes_in_use  an accelerator's allocator, in a process in which nothing
                     has taken more before
  ru_maxrss          elsewhere: high-water mark of a fresh process, a lower
                     bound where compiling has taken more than the call
  unknown            an accelerator whose allocator keeps no mark

The compiler's figures and the closed form stand beside what was measured; they
are flagged where they disagree. They do: fused custom calls hide their scratch
from XLA:CPU, which then reports no temporaries.
"""

import ctypes
import gc
import pathlib
import resource
import sys
import time
from typing import Any, Callable, Mapping, NamedTuple

import jax
import jax.numpy as jnp

NOISE_FLOOR = 8 * 2**20  # bytes; a smaller peak says little about a kernel
_DISAGREEMENT = 0.25  # relative difference of two figures worth a flag

_STATUS = pathlib.Path("/proc/self/status")
_CLEAR = pathlib.Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # man 5 proc: resets the high-water mark

# glibc's mallopt. A freed buffer below the mapping threshold stays with its
# arena, and malloc_trim does not give back an arena's top: the next call would
# use it unseen. While measuring, buffers are therefore mapped one by one.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_EXPOSED = 2**16  # bytes
# The values glibc adapts itself to once a buffer of 32 MiB was freed; fixed
# from the start, time does not depend on what a process has run before.
MMAP_THRESHOLD, TRIM_THRESHOLD = 2**25, 2**26  # bytes


# What all arenas keep is far below _KEPT; smaller peaks are read again, at
# least once and for so many seconds.
_KEPT, _READINGS, _REPEATING = 2**28, 4, 0.1


class Peak(NamedTuple):
  """Bytes beyond those live before the call, and how they were found."""

  bytes: int
  method: str


def _library() -> Any:
  """The C library if it is glibc, else None."""
  if sys.platform != "linux":
    return None
  library = ctypes.CDLL(None)
  return library if hasattr(library, "malloc_trim") else None


def settle() -> None:
  """Fixes glibc's thresholds, which otherwise adapt to the buffers freed."""
  _thresholds(MMAP_THRESHOLD, TRIM_THRESHOLD)


def expose() -> None:
  """Makes glibc return every large buffer when it is freed; undo by `settle`.

  A call in between empties the arenas it uses, for `peak` to see the next one.
  """
  _thresholds(_EXPOSED, _EXPOSED)


def _thresholds(mapping: int, trim: int) -> None:
  library = _library()
  if library is not None:
    library.mallopt(_M_MMAP_THRESHOLD, mapping)
    library.mallopt(_M_TRIM_THRESHOLD, trim)


def method() -> str:
  """How peaks are measured on the default device of this process."""
  device = jax.devices()[0]
  if "peak_bytes_in_use" in (device.memory_stats() or {}):
    return "peak_bytes_in_use"
  if device.platform != "cpu":  # the host's marks say nothing of its memory
    return "unknown"
  return "VmHWM" if _resettable() else "ru_maxrss"


def limit() -> int | None:
  """Bytes an accelerator lets its programs use; None where it says nothing."""
  return (jax.devices()[0].memory_stats() or {}).get("bytes_limit")


def _resettable() -> bool:
  """Whether this process may reset its own high-water mark."""
  try:
    _CLEAR.write_text(_RESET_PEAK)
  except OSError:
    return False
  return _read("VmHWM") is not None


def peak(call: Callable[[], Any]) -> Peak | None:
  """Runs a call, once or a few times, and returns the bytes it took.

  The call should have run since `expose`: what is allocated once does not
  count. Only `VmHWM` can be reset; another mark tells nothing of a call that
  does not raise it.

  Args:
    call: runs once what is measured and returns its arrays.

  Returns:
    The peak; None where the mark has not risen.
  """
  found = method()
  gc.collect()
  if found == "VmHWM":
    return Peak(_largest(call), found)
  before, live = _mark(found), _live(found)
  jax.block_until_ready(call())
  after = _mark(found)
  return Peak(after - live, found) if after > before else None


def zeros(shapes: Any) -> Any:
  """Returns arguments for a peak, which no value changes.

  To draw them takes a device more memory than to hold them, so that the mark of
  a call would be hidden, and a host longer than all the rest.

  Args:
    shapes: a pytree of what has `shape` and `dtype`.
  """
  made = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
  return jax.block_until_ready(made)


def _largest(call: Callable[[], Any]) -> int:
  """The largest of a few readings: a small one may have used kept memory.

  A call may run on any thread, and so in an arena that the last call has not
  emptied; a first reading empties it.
  """
  end = time.perf_counter() + _REPEATING
  readings = [_high_water(call)]
  while readings[0] < _KEPT and len(readings) < _READINGS:
    if len(readings) > 1 and time.perf_counter() > end:
      break
    readings.append(_high_water(call))
  return max(readings)


def _high_water(call: Callable[[], Any]) -> int:
  library = _library()
  if library is not None:
    library.malloc_trim(0)
  _CLEAR.write_text(_RESET_PEAK)
  before = _read("VmRSS") or 0
  jax.block_until_ready(call())
  return max((_read("VmHWM") or 0) - before, 0)


def _read(name: str) -> int | None:
  """A size of this process in bytes, from /proc."""
  try:
    lines = _STATUS.read_text().splitlines()
  except OSError:
    return None
  values = [line.split()[1] for line in lines if line.startswith(name + ":")]
  return int(values[0]) * 1024 if values else None


def _mark(found: str) -> int:
  """The high-water mark so far, in bytes."""
  if found == "peak_bytes_in_use":
    return int((jax.devices()[0].memory_stats() or {})[found])
  largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return largest if sys.platform == "darwin" else largest * 1024


def _live(found: str) -> int:
  """The bytes a call begins with: of the system, its mark says enough."""
  if found == "ru_maxrss":
    return _mark(found)
  return int((jax.devices()[0].memory_stats() or {})["bytes_in_use"])


def compiler(compiled: Any) -> dict[str, int | None]:
  """What the compiler says a compiled function takes, None where it is mute."""
  try:
    analysis = compiled.memory_analysis()
  except (NotImplementedError, RuntimeError):  # not every device has it
    analysis = None
  return {
      f"compiler_{name}_bytes": getattr(analysis, f"{name}_size_in_bytes", None)
      for name in ("temp", "argument", "output", "alias")
  }


def flag(
    measured: int, figures: Mapping[str, int | None], closed_form: int | None
) -> str:
  """Names what disagrees with a measured peak: "compiler, closed form" or "".

  Args:
    measured: bytes beyond the arguments.
    figures: of `compiler`; outputs in place of arguments take nothing more.
    closed_form: bytes of temporaries and outputs, None if there is no model.
  """
  temporaries = figures["compiler_temp_bytes"]
  outputs = figures["compiler_output_bytes"]
  inside = figures.get("compiler_alias_bytes") or 0
  known = temporaries is not None and outputs is not None
  expected = {
      "compiler": (temporaries or 0) + (outputs or 0) - inside
      if known
      else None,
      "closed form": closed_form,
  }
  return ", ".join(
      name
      for name, value in expected.items()
      if value is not None and _disagree(measured, value)
  )


def _disagree(measured: int, expected: int) -> bool:
  slack = max(NOISE_FLOOR, _DISAGREEMENT * max(measured, expected))
  return abs(measured - expected) > slack
