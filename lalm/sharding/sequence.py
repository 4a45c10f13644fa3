"""Attention over a mesh of devices that hold parts of one sequence."""

from collections.abc import Callable, Mapping
import functools
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
import numpy as np

from lalm.attention import contract
from lalm.attention import tuning
from lalm.attention.mechanism import Mechanism
from lalm.sharding import affine
from lalm.sharding import gathered_keys
from lalm.sharding import neighbours
from lalm.sharding import passed_levels
from lalm.sharding import state_passing

TOKENS = "tokens"  # the axis of a mesh over which a sequence is split


# How it is split: what devices tell each other.
GATHERED, NEIGHBOURS, PASSED = "gathered keys", "nearest keys", "passed states"
LEVELS = "passed levels"


_OTHERS: dict[str, Callable[..., Any]] = {
    GATHERED: gathered_keys.of_shard,
    NEIGHBOURS: neighbours.of_shard,
    LEVELS: passed_levels.of_shard,
}


def way(mechanism: Mechanism) -> str:
  """Returns how a mechanism's sequence is split.

  Softmax gathers all keys, a window gets those before it; linear-time families
  pass states, log-linear attention a sum for each level.

  Raises:
    ValueError: it cannot be split so.
  """
  if mechanism.name == "softmax":
    return GATHERED
  if mechanism.name == "window":
    return NEIGHBOURS
  if mechanism.name == "loglinear":
    return LEVELS
  affine.check(mechanism)
  return PASSED


def split(
    mechanism: Mechanism, form: str, mesh: Mesh, axis: str = TOKENS
) -> Callable[..., contract.Result]:
  """Returns a form that runs on devices, each with a part of the tokens.

  It is called as the form is, under `jax.jit` or not, and equals it to
  rounding: values, gradients, final state. T is a multiple of the number of
  devices. How it is done `way` tells. Within a `jax.shard_map` over other axes
  of the mesh each of its devices splits what it has.

  Args:
    mechanism: of the catalogue.
    form: its name; not `step`.
    mesh: of devices.
    axis: of the mesh, over which the tokens are split; other axes hold copies.

  Raises:
    ValueError: a mechanism or form whose sequence cannot be split so; in a
      call, a length that the devices do not divide, or as in the form.
  """
  _check(mechanism, form, mesh, axis)
  one = mechanism.forms[form]
  body = _of_shard(mechanism, one, axis)

  @functools.cache
  def shards(fixed: tuple, specs: tuple, around: Any) -> Any:
    everywhere: Any = P(None, axis)
    run = jax.shard_map(
        lambda arrays, named: body(*arrays, **named, **dict(fixed)),
        mesh=around or mesh,
        axis_names={axis} if around else set(mesh.axis_names),
        in_specs=(P(None, axis), dict(specs)),
        out_specs=contract.Result(everywhere, P()),
        check_vma=False,  # a scan's first state is every device's own
    )
    return run, jax.jit(run)  # which is compiled once for each kind of call

  @functools.wraps(one)
  def call(q: Any, k: Any, v: Any, **keywords: Any) -> contract.Result:
    keywords = contract.with_partial(keywords)
    fixed = {n: x for n, x in keywords.items() if n in contract.STATIC}
    named = {n: x for n, x in keywords.items() if n not in contract.STATIC}
    # What one device refuses is refused in its words, of all tokens.
    shapes = jax.tree.map(_shape, ((q, k, v), named))
    jax.eval_shape(lambda x, named: one(*x, **named, **fixed), *shapes)
    # Within a `shard_map` over other axes, what is left of its mesh counts.
    here = jax.sharding.get_abstract_mesh()
    inside = jax.sharding.AxisType.Manual in here.axis_types
    around = here if inside else None
    if around:
      _check_around(around, axis)
    devices = (around or mesh).shape[axis]
    _check_lengths(q, k, devices, keywords.get("block"))
    specs = _specs(mechanism, named, axis)
    own = tuple(fixed.items()), tuple(specs.items())
    run, compiled = shards(*own, around)
    given = (q, k, v), named
    if around:
      return run(*given)
    placed = P(None, axis), specs
    if any(tuning.behind(x) is None for x in jax.tree.leaves(given)):
      return run(*_placed(mesh, placed, given))  # in a program, a part of it
    return compiled(*_put(mesh, placed, given))

  return call


def _specs(
    mechanism: Mechanism, named: Mapping[str, Any], axis: str
) -> dict[str, P]:
  """How keywords are split: those with tokens are.

  What has no tokens, every device has as a whole; so is a decay `[G]`.
  """
  # Any decay may be of each token.
  own = {"segment_ids": "BT", "log_decay": "BTG"}
  layouts = {**mechanism.layouts, **own}
  tokens = (
      lambda name: "T" in layouts.get(name, "") and np.ndim(named[name]) > 1
  )
  return {name: P(None, axis) if tokens(name) else P() for name in named}


def _check(mechanism: Any, form: Any, mesh: Any, axis: Any) -> None:
  if not isinstance(mechanism, Mechanism):
    raise ValueError(
        "mechanism: expected one of the catalogue (`catalogue.get`), got"
        f" {mechanism!r}"
    )
  forms = [name for name in mechanism.forms if name != "step"]
  if form not in forms:
    raise ValueError(f"form: expected one of {', '.join(forms)}, got {form!r}")
  if not isinstance(mesh, Mesh | jax.sharding.AbstractMesh):
    raise ValueError(f"mesh: expected a jax.sharding.Mesh, got {mesh!r}")
  if axis not in mesh.axis_names:
    known = ", ".join(mesh.axis_names)
    raise ValueError(f"axis: expected one of {known}, got {axis!r}")


def _check_around(here: Any, axis: str) -> None:
  """Checks the mesh of the `shard_map` around a call."""
  kinds = zip(here.axis_names, here.axis_types)
  free = [n for n, kind in kinds if kind != jax.sharding.AxisType.Manual]
  if axis not in free:
    raise ValueError(
        f"axis: expected one that the shard_map around leaves free"
        f" ({', '.join(free) or 'none'}), got {axis!r}"
    )


def _of_shard(
    mechanism: Mechanism, form: contract.Form, axis: str
) -> Callable[..., contract.Result]:
  """The form as each device runs it on its own tokens."""
  kind = way(mechanism)
  if kind == PASSED:
    return functools.partial(state_passing.of_shard, mechanism, form, axis)
  return functools.partial(_OTHERS[kind], form, axis)


def _shape(x: Any) -> Any:
  """An array's shape, wherever it is; anything else as it is."""
  is_array = hasattr(x, "shape") and hasattr(x, "dtype")
  return jax.ShapeDtypeStruct(x.shape, x.dtype) if is_array else x


def _put(mesh: Mesh, specs: Any, given: Any) -> Any:
  """The arguments, on devices as specs say."""
  put = lambda spec, tree: jax.device_put(tree, NamedSharding(mesh, spec))
  return jax.tree.map(put, specs, given, is_leaf=lambda x: isinstance(x, P))


def _placed(mesh: Mesh, specs: Any, given: Any) -> Any:
  """The same within a program, where a mesh wants it explicit."""
  explicit = [
      name
      for name, kind in zip(mesh.axis_names, mesh.axis_types)
      if kind == jax.sharding.AxisType.Explicit
  ]
  if not explicit:
    return given

  def put(spec: P, tree: Any) -> Any:
    own = P(*(name if name in explicit else None for name in spec))
    place = NamedSharding(mesh, own)
    return jax.tree.map(lambda x: jax.sharding.reshard(x, place), tree)

  return jax.tree.map(put, specs, given, is_leaf=lambda x: isinstance(x, P))


def _check_lengths(q: Any, k: Any, devices: int, block: int | None) -> None:
  for name, tokens in (("q", q.shape[1]), ("k", k.shape[1])):
    if tokens % devices:
      raise ValueError(
          f"{name}: expected a multiple of {devices} tokens, one part a device,"
          f" got {tokens}"
      )
  own = q.shape[1] // devices
  if block is not None and own % block:
    raise ValueError(
        f"block: expected a divisor of the {own} tokens that a device has, got"
        f" {block}"
    )
