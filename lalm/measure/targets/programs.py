"""Compiled programs, as their compiler describes them, kept in a folder.

What is read of them changes more often than they do, and a search that goes on
asks for lengths again: neither compiles anything anew.
"""

from collections.abc import Mapping
import gzip
import hashlib
import json
import pathlib
import time
from typing import Any, NamedTuple
import zlib

import jax

from lalm import store
from lalm.measure import environment
from lalm.measure.targets import topology

_SIZES = ("argument", "output", "temp", "alias", "generated_code")
_UNREAD = (OSError, ValueError, EOFError, zlib.error)  # no file, or damage
_FULL = "RESOURCE_EXHAUSTED"  # of what a compiler says where it finds no room


class Program(NamedTuple):
  """What a compiler says of a program.

  Attributes:
    text: its instructions (HLO).
    sizes: bytes of argument, output, temp, alias and generated_code, and the
      compiler's own peak.
    seconds: of compiling it.
  """

  text: str
  sizes: Mapping[str, int]
  seconds: float


def compiled(lowered: Any, target: str, folder: str | None) -> Program:
  """Returns a program that is compiled, or was before.

  Args:
    lowered: `jax.stages.Lowered`, for the target's devices.
    target: name of the machine, as in `hardware`.
    folder: of what was compiled before; None where nothing is kept.

  Raises:
    jax.errors.JaxRuntimeError: the compiler's, that of no room kept too.
  """
  if folder is None:
    return _compiled(lowered)
  parts = [
      lowered.as_text(),
      target,
      json.dumps(topology.versions(target), sort_keys=True),
      json.dumps(environment.settings(), sort_keys=True),
  ]
  key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
  path = pathlib.Path(folder) / "programs" / f"{key}.json.gz"
  try:
    found = json.loads(gzip.decompress(path.read_bytes()))
  except _UNREAD:
    found = _kept(path, lowered)
  if "error" in found:
    raise jax.errors.JaxRuntimeError(found["error"])
  return Program(**found)


def _kept(path: pathlib.Path, lowered: Any) -> dict[str, Any]:
  try:
    found: dict[str, Any] = _compiled(lowered)._asdict()
  except jax.errors.JaxRuntimeError as error:
    if _FULL not in str(error):
      raise
    found = {"error": str(error)}
  content = gzip.compress(json.dumps(found).encode(), compresslevel=1)
  store.replace(path, content)
  return found


def _compiled(lowered: Any) -> Program:
  """Compiles; of products in Triton XLA for GPUs can lose its way.

  Without a GPU to try tiles on it takes Triton's, and finds none for some
  shapes: those programs get the vendor's products.
  """
  start = time.perf_counter()
  try:
    program = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if "output tile sizes" not in str(error):
      raise
    program = lowered.compile({"xla_gpu_enable_triton_gemm": False})
  seconds = time.perf_counter() - start
  memory = program.memory_analysis()
  sizes = {name: getattr(memory, f"{name}_size_in_bytes") for name in _SIZES}
  sizes["peak"] = memory.peak_memory_in_bytes
  return Program(program.as_text(), sizes, seconds)
