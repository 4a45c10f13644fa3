"""Chunks and tiles by platform, dtype and width: sizes read from a table.

`tuning.json` beside this file has a row for each size that is not a form's own,
with the machine that it was found on; `python3 -m lalm.report.tuning` writes it
from the results of `experiments.chunk_sizes`. Nothing is searched for in a
call, and no size depends on the length of a sequence: a program tuned at one
length is that of another.
"""

from collections.abc import Callable, Mapping
import contextlib
import functools
import json
import math
import pathlib
from typing import Any

import jax

TABLE = pathlib.Path(__file__).with_name("tuning.json")
# Names of XLA's platforms for which a program may have sizes of its own.
PLATFORMS = ("cpu", "cuda", "tpu")

# Of the platform that programs are made for; part of what JAX caches them by.
_programs = jax.make_user_context(None)

Widths = Mapping[int, int]  # width -> tokens a chunk


@functools.cache
def _table() -> Mapping[tuple[str, str, bool], Widths]:
  """Form, platform and whether inputs have 16 bits -> sizes by width."""
  found: dict[tuple[str, str, bool], dict[int, int]] = {}
  for row in json.loads(TABLE.read_text(encoding="utf-8")):
    half = row["dtype"] == "bfloat16"
    widths = found.setdefault((row["form"], row["platform"], half), {})
    widths[row["width"]] = row["chunk"]
  return found


def size(form: str, platform: str, itemsize: int, width: int) -> int | None:
  """Returns the tokens a chunk of a causal form, None for the form's own.

  Args:
    form: `module.function`, as "linear.chunkwise".
    platform: as in `PLATFORMS`.
    itemsize: bytes of a number of the queries.
    width: K; where it is not in the table, the nearest that is counts.
  """
  widths = _table().get((form, platform, itemsize <= 2))
  if not widths:
    return None
  nearest = min(widths, key=lambda known: abs(math.log(known / width)))
  return widths[nearest]


def fitted(size: int, writes: int | None, window: int | None) -> int:
  """Returns tokens a chunk, fewer where tokens are many or a window is short.

  Args:
    size: as in the table.
    writes: of a token, where it has several; each is as long as a token.
    window: tokens that a query sees, where a call says so.
  """
  return max(1, min(size // (writes or 1), window or size))


def form(
    compiled: Callable[..., Any], name: str, static: tuple[str, ...]
) -> Callable[..., Any]:
  """Returns a form that takes its chunks from the table where none is given.

  They are those of the platform that holds the arrays; in a program, whose
  arrays are nowhere yet, of the one that `lowered_for` names, or JAX's default.
  A branch for each platform would be traced as often as there are platforms.

  Args:
    compiled: the form under `jax.jit`.
    name: of the form in the table.
    static: its static keywords.
  """
  if "chunk" not in static:
    return compiled

  def call(q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    plain = keywords.get("chunk") is None and keywords.get("causal", True)
    if not plain or not getattr(q, "ndim", 0):
      return compiled(q, k, v, **keywords)
    chunk = size(name, _platform(q), q.dtype.itemsize, q.shape[-1])
    return compiled(q, k, v, **_sized(keywords, q, k, chunk))

  return call


def lowered_for(platform: str) -> contextlib.AbstractContextManager:
  """Returns a context in which programs are made for a platform not at hand.

  With `jax.export`, or a compiler for a machine that is not here.

  Raises:
    ValueError: not one of `PLATFORMS`.
  """
  if platform not in PLATFORMS:
    known = ", ".join(PLATFORMS)
    raise ValueError(f"platform: expected one of {known}; got {platform!r}")
  return _programs(platform)


def assumed() -> str:
  """Returns the platform that programs are made for, as in `PLATFORMS`."""
  if _programs.value is not None:
    return _programs.value
  device = jax.config.values["jax_default_device"]  # or its platform, or None
  return _named(getattr(device, "platform", device) or jax.default_backend())


def _platform(x: Any) -> str:
  """The platform that holds an array, or that programs are made for."""
  x = behind(x)
  if not isinstance(x, jax.Array):
    return assumed()
  (platform,) = {device.platform for device in x.devices()}
  return _named(platform)


def behind(x: Any) -> Any:
  """Returns what the tracers of derivatives stand for; None in a program."""
  if not isinstance(x, jax.core.Tracer):
    return x
  while isinstance(x, jax.core.Tracer):
    x = getattr(x, "primal", getattr(x, "val", None))
  return x if isinstance(x, jax.Array) else None


def _named(platform: str) -> str:
  """A platform as in `PLATFORMS`; a GPU of any maker has the sizes of CUDA."""
  return "cuda" if platform == "gpu" else platform


def _sized(
    keywords: Mapping[str, Any], q: Any, k: Any, chunk: int | None
) -> dict[str, Any]:
  """The keywords with a chunk from the table, where it has one."""
  if chunk is None:
    return dict(keywords)
  several = getattr(k, "ndim", 0) == q.ndim + 1  # keys of a token
  writes = k.shape[2] if several else None
  return {**keywords, "chunk": fitted(chunk, writes, keywords.get("window"))}
