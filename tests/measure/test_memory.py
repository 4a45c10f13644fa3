"""Peaks against allocations of known size."""

import json
import os
import pathlib
import subprocess
import sys

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.measure import memory

_MIB = 2**20
_LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux resets its high-water mark"
)


@pytest.fixture(name="exposed", autouse=True)
def _exposed():
  memory.expose()
  yield
  memory.settle()


def _allocate(mebibytes):
  return np.ones(mebibytes * _MIB, np.uint8)


@_LINUX
@pytest.mark.parametrize("mebibytes", [0, 1, 4, 16, 48, 512])
def test_a_known_allocation_is_seen(mebibytes):
  call = lambda: _allocate(mebibytes)
  call()
  found = memory.peak(call)
  assert found.method == "VmHWM"
  # Other threads of the process allocate too, more in a longer time.
  assert abs(found.bytes / _MIB - mebibytes) < 4 + 0.05 * mebibytes


@_LINUX
def test_memory_freed_before_the_end_is_in_the_peak():
  def call():
    for _ in range(3):
      _allocate(64)
    return _allocate(8)

  call()
  # The next array is made while the last one still lives in no name.
  assert abs(memory.peak(call).bytes / _MIB - 64) < 4


@_LINUX
def test_what_lived_before_is_not_in_the_peak():
  kept = _allocate(100)
  assert memory.peak(lambda: _allocate(16)).bytes / _MIB < 24
  assert kept.size == 100 * _MIB


@_LINUX
def test_a_small_peak_is_seen_after_a_large_one():
  memory.peak(lambda: _allocate(256))
  assert abs(memory.peak(lambda: _allocate(8)).bytes / _MIB - 8) < 4


@_LINUX
def test_memory_that_an_arena_keeps_is_given_back_before_the_next_reading():
  memory.settle()
  # Below the mapping threshold: their pages stay with the process when freed.
  buffers = [_allocate(16) for _ in range(4)]
  del buffers
  memory.expose()
  _allocate(16)
  assert abs(memory.peak(lambda: _allocate(16)).bytes / _MIB - 16) < 4


@_LINUX
def test_holes_between_what_is_kept_are_given_back_too():
  memory.settle()
  buffers = [_allocate(1) for _ in range(64)]
  kept = buffers[::2]
  del buffers
  memory.expose()
  found = memory.peak(lambda: [_allocate(1) for _ in range(32)])
  # Filling the holes, the new ones would cost nothing.
  assert abs(found.bytes / _MIB - 32) < 16
  assert len(kept) == 32


@_LINUX
def test_the_temporary_of_a_compiled_function_is_seen():
  def function(x):
    whole = jnp.broadcast_to(x, (2**26,))  # 256 MiB, carried through a loop
    step = lambda _, c: jnp.sin(c) + x
    return jnp.sum(lax.fori_loop(0, 3, step, whole))

  x = jnp.float32(1.0)
  compiled = jax.jit(function).lower(x).compile()
  call = lambda: compiled(x)
  jax.block_until_ready(call())
  found = memory.peak(call).bytes
  figures = memory.compiler(compiled)
  assert figures["compiler_argument_bytes"] == 4
  assert figures["compiler_output_bytes"] == 4
  assert figures["compiler_temp_bytes"] >= 256 * _MIB
  assert abs(found - figures["compiler_temp_bytes"]) < 20 * _MIB
  assert memory.flag(found, figures, figures["compiler_temp_bytes"]) == ""


def test_what_is_written_in_its_place_is_told():
  x = jnp.zeros(1024)
  for donated, aliased in ((), 0), (0, 4096):
    function = jax.jit(lambda x: x + 1, donate_argnums=donated)
    figures = memory.compiler(function.lower(x).compile())
    assert figures["compiler_alias_bytes"] == aliased


def test_disagreement_beyond_a_quarter_and_the_noise_is_flagged():
  figures = {
      "compiler_temp_bytes": 90 * _MIB,
      "compiler_argument_bytes": 500 * _MIB,
      "compiler_output_bytes": 10 * _MIB,
  }
  assert memory.flag(100 * _MIB, figures, 100 * _MIB) == ""
  assert memory.flag(120 * _MIB, figures, 110 * _MIB) == ""
  assert memory.flag(140 * _MIB, figures, 130 * _MIB) == "compiler"
  assert memory.flag(100 * _MIB, figures, 10 * _MIB) == "closed form"
  assert memory.flag(300 * _MIB, figures, 10 * _MIB) == "compiler, closed form"
  assert memory.flag(100 * _MIB, figures, None) == ""
  silent = dict.fromkeys(figures)
  assert memory.flag(100 * _MIB, silent, None) == ""


def test_a_difference_within_the_noise_is_not_flagged():
  figures = dict.fromkeys(
      ["compiler_temp_bytes", "compiler_output_bytes"], 2**16
  )
  assert memory.flag(memory.NOISE_FLOOR // 2, figures, 0) == ""


_FRESH = """
import json, sys
import numpy as np
from lalm.measure import memory
memory._resettable = lambda: False
call = lambda: np.ones(int(sys.argv[1]), np.uint8)
print(json.dumps(memory.peak(call)._asdict()))
"""


def test_without_a_mark_to_reset_a_fresh_process_tells_and_says_so():
  root = str(pathlib.Path(__file__).resolve().parents[2])
  size = str(512 * _MIB)
  done = subprocess.run(
      # A process starts with the mark of the one that was replaced by it: a
      # shell in between keeps the mark of these tests away.
      ["sh", "-c", '"$@"; exit', "sh", sys.executable, "-c", _FRESH, size],
      env={**os.environ, "PYTHONPATH": root},
      stdout=subprocess.PIPE,
      check=True,
  )
  found = json.loads(done.stdout)
  assert found["method"] == "ru_maxrss"
  # A lower bound: what importing took beyond what it kept does not count.
  assert 512 - 100 < found["bytes"] / _MIB < 512 + 8


@_LINUX
def test_a_small_peak_is_the_largest_of_a_few_readings(monkeypatch):
  readings = [5, 40, 7, 9]
  monkeypatch.setattr(memory, "_high_water", lambda call: readings.pop(0))
  assert memory.peak(lambda: None).bytes == 40


@_LINUX
def test_a_large_peak_is_read_once(monkeypatch):
  calls = []
  memory.peak(lambda: calls.append(_allocate(300)))
  assert len(calls) == 1
