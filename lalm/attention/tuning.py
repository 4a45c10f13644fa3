"""Chunks and tiles by platform, dtype and width: sizes read from a table.

`tuning.json` beside this file has a row for each size that is not a form's own,
with the machine that it was found on; `python3 -m lalm.report.tuning` writes it
from the results of `experiments.chunk_sizes`. Nothing is searched for in a
call, and no size depends on the length of a sequence: a program tuned at one
length is that of another.
"""

from collections.abc import Callable, Mapping
import functools
import json
import math
import pathlib
from typing import Any

import jax
from jax import lax

TABLE = pathlib.Path(__file__).with_name("tuning.json")
# Names of XLA's platforms for which a program may have sizes of its own.
PLATFORMS = ("cpu", "cuda", "tpu")

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


def sizes(form: str, dtype: Any, width: int) -> dict[str, int]:
  """Returns platform -> tokens a chunk, of platforms that are in the table."""
  found = {p: size(form, p, dtype.itemsize, width) for p in PLATFORMS}
  return {platform: chunk for platform, chunk in found.items() if chunk}


def form(
    fn: Callable[..., Any],
    compiled: Callable[..., Any],
    name: str,
    static: tuple[str, ...],
) -> Callable[..., Any]:
  """Returns a form that takes its chunks from the table where none is given.

  In a program the platform is known when it is lowered: each that the table
  knows has a branch, of which one is left. Outside of programs it is that of
  the arrays; a branch would cost a gradient the others' empty residuals there.

  Args:
    fn: the form.
    compiled: the same under `jax.jit`.
    name: of the form in the table.
    static: its static keywords.
  """
  if "chunk" not in static:
    return compiled
  staged = _staged(fn, name, static)

  def call(q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    plain = keywords.get("chunk") is None and keywords.get("causal", True)
    if not plain or not getattr(q, "ndim", 0):
      return compiled(q, k, v, **keywords)
    platform = _platform(q)
    if platform is None:
      return staged(q, k, v, **keywords)
    chunk = sizes(name, q.dtype, q.shape[-1]).get(platform)
    return compiled(q, k, v, **_sized(keywords, q, k, chunk))

  return call


def _platform(x: Any) -> str | None:
  """The platform that holds an array; None in a program yet to be lowered.

  Derivatives taken outside of any program have the array behind their tracers.
  """
  while isinstance(x, jax.core.Tracer):
    x = getattr(x, "primal", getattr(x, "val", None))
  if not isinstance(x, jax.Array):
    return None
  (platform,) = {device.platform for device in x.devices()}
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


def _staged(
    fn: Callable[..., Any], name: str, static: tuple[str, ...]
) -> Callable[..., Any]:
  """Returns `fn` for programs, with a branch for each platform in the table."""

  @functools.partial(jax.jit, static_argnames=static)
  @functools.wraps(fn)
  def call(q: Any, k: Any, v: Any, **keywords: Any) -> Any:
    found = sizes(name, q.dtype, q.shape[-1])
    if not found:
      return fn(q, k, v, **keywords)
    fixed = {n: keywords.pop(n) for n in static if n in keywords}

    def of(chunk: int | None) -> Callable[..., Any]:
      given = _sized(fixed, q, k, chunk)
      return lambda q, k, v, rest: fn(q, k, v, **rest, **given)

    branches = {platform: of(chunk) for platform, chunk in found.items()}
    return lax.platform_dependent(
        q, k, v, keywords, default=of(None), **branches
    )

  return call
