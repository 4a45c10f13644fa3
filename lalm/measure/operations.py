"""Operations of a traced function, counted exactly on its jaxpr.

*Products* are the 2mnk multiplications and additions of every `dot_general`
and convolution that is executed; *element-wise* operations, one for each
element an arithmetic primitive writes (or a reduction reads), are counted
apart. Where loops repeat a body the count is multiplied by the trip count,
which must be readable before anything runs:

  scan                its length times its body
  while               a counter with a known start, step and bound; else raises
  cond                its dearest branch, or the one branch of a known index
  platform_dependent  the branch of the platform asked for
  shard_map           its body on every shard of the mesh
  calls               jit, remat, custom derivatives: their body once

Outputs nobody uses are dropped before counting, as the compiler drops them.
Compiler counts (`cost_analysis`) see a loop's body once, whatever its length.
"""

import collections
import dataclasses
import math
from typing import Any, Callable, Mapping, Sequence

import jax
from jax.extend import core
from jax.interpreters import partial_eval

from lalm.attention import tuning
from lalm.measure import products
from lalm.measure import trips

# They move, name or convert values: no arithmetic worth counting.
_FREE = frozenset("""
  all_gather all_to_all bitcast_convert_type broadcast_in_dim concatenate
  convert_element_type copy copy_p create_token debug_callback debug_print
  device_put dynamic_slice dynamic_update_slice empty empty2 expand_dims gather
  iota name
  optimization_barrier pad pbroadcast pcast platform_index ppermute pvary
  random_unwrap random_wrap reduce_precision reshape rev sharding_constraint
  slice split squeeze stop_gradient transpose axis_index
  """.split())
_READS_INPUT = ("reduce_", "cum", "arg", "scatter", "sort", "top_k")
_CALLS = frozenset("""
  checkpoint closed_call core_call custom_jvp_call custom_lin
  custom_vjp_call custom_vjp_call_jaxpr jit pjit remat remat2
  """.split())
# Products hide in these, and nothing in the jaxpr says how many.
_OPAQUE = frozenset("""
  cholesky eig eigh fft ffi_call geqrf householder_product io_callback lu
  pallas_call pure_callback qr ragged_dot ragged_dot_general scaled_dot schur
  svd triangular_solve tridiagonal_solve
  """.split())
_FUSED = "dot_product_attention"  # begins the names of cuDNN's


class UnreadableError(ValueError):
  """The number of operations cannot be read from the program."""


@dataclasses.dataclass(frozen=True, order=True)
class Operations:
  """Exact numbers of operations.

  Attributes:
    products: 2mnk of each product.
    elementwise: one of each element.
    kinds: the products by their kind, as in `products`.
  """

  products: int = 0
  elementwise: int = 0
  kinds: Mapping[str, int] = dataclasses.field(
      default_factory=dict, compare=False
  )

  def __add__(self, other: "Operations") -> "Operations":
    kinds = collections.Counter(self.kinds)
    kinds.update(other.kinds)
    return Operations(
        self.products + other.products,
        self.elementwise + other.elementwise,
        dict(kinds),
    )

  def times(self, count: int) -> "Operations":
    """The operations of `count` runs."""
    kinds = {kind: each * count for kind, each in self.kinds.items()}
    return Operations(self.products * count, self.elementwise * count, kinds)


def count(
    fn: Callable[..., Any], *args: Any, platform: str | None = None
) -> Operations:
  """Counts the operations of one call `fn(*args)`, which is not run.

  Args:
    fn: a traceable function.
    *args: arrays, or shapes (`jax.ShapeDtypeStruct`) to trace it with.
    platform: whose branch of `lax.platform_dependent` is counted ("cpu",
      "cuda", "rocm", "tpu"); the default backend's if None.

  Returns:
    The operations of one call, as Python integers.

  Raises:
    UnreadableError: a trip count depends on data, or a primitive hides its
      products.
  """
  return count_jaxpr(jax.make_jaxpr(fn)(*args), platform=platform)


def count_jaxpr(closed: Any, *, platform: str | None = None) -> Operations:
  """Counts the operations of a closed jaxpr, as `count` does."""
  if platform is None:
    platform = tuning.assumed()
  jaxpr = _open(closed)
  jaxpr, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
  del used  # the inputs still needed; their number does not matter here
  return _of_jaxpr(jaxpr, _constants(closed), platform)


def _open(jaxpr: Any) -> Any:
  """The jaxpr without its constants (older JAX keeps the two apart)."""
  return jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr


def _constants(jaxpr: Any) -> dict[Any, int]:
  """The integer constants a closed jaxpr carries, by variable."""
  pairs = zip(_open(jaxpr).constvars, getattr(jaxpr, "consts", ()))
  known = {variable: trips.integer(value) for variable, value in pairs}
  return {variable: v for variable, v in known.items() if v is not None}


def _bind(
    inner: Any, operands: Sequence[Any], known: Mapping[Any, int]
) -> dict[Any, int]:
  """What a body knows of its inputs, given the operands of its call."""
  values = [trips.lookup(operand, known) for operand in operands]
  pairs = zip(_open(inner).invars, values)
  bound = {variable: v for variable, v in pairs if v is not None}
  return {**_constants(inner), **bound}


def _size(atom: Any) -> int:
  return math.prod(int(extent) for extent in getattr(atom.aval, "shape", ()))


def _of_jaxpr(
    jaxpr: Any, known: Mapping[Any, int], platform: str
) -> Operations:
  """Sums the equations of one body, following integers that are known."""
  known, total = dict(known), Operations()
  for equation in _open(jaxpr).eqns:
    total += _of_equation(equation, known, platform)
    known |= _results(equation, known, platform)
  return total


def _results(
    equation: Any, known: Mapping[Any, int], platform: str
) -> dict[Any, int]:
  """The integers an equation gives, as far as they can be told beforehand.

  A gradient's branch is chosen by an index that the call before has returned.
  """
  if equation.primitive.name not in _CALLS:
    value = _evaluate(equation, known, platform)
    return {} if value is None else {equation.outvars[0]: value}
  body = next(p for p in equation.params.values() if _is_jaxpr(p))
  inside = dict(_bind(body, equation.invars, known))
  for inner in _open(body).eqns:
    inside |= _results(inner, inside, platform)
  values = (trips.lookup(atom, inside) for atom in _open(body).outvars)
  found = zip(equation.outvars, values)
  return {outvar: value for outvar, value in found if value is not None}


def _evaluate(
    equation: Any, known: Mapping[Any, int], platform: str
) -> int | None:
  """The integer an equation gives, where that can be told beforehand."""
  name = equation.primitive.name
  if name == "platform_index":
    return _platform_index(equation.params["platforms"], platform)
  if name in ("convert_element_type", "copy", "squeeze", "stop_gradient"):
    value = trips.lookup(equation.invars[0], known)
    # Elements of an extended dtype, such as a random key, have no kind.
    kind = getattr(equation.outvars[0].aval.dtype, "kind", None)
    return value if kind in ("i", "u") else None
  return None


def _platform_index(
    platforms: Sequence[Sequence[str] | None], platform: str
) -> int | None:
  """The first branch that serves the platform; None serves all others."""
  for index, names in enumerate(platforms):
    if names is None or platform in names:
      return index
  return None


def _of_equation(
    equation: Any, known: Mapping[Any, int], platform: str
) -> Operations:
  name, params = equation.primitive.name, equation.params
  made = products.of(equation)
  if made is not None:
    return Operations(made, kinds={products.kind(equation): made})
  if name in _OPAQUE or name.startswith(_FUSED):
    raise UnreadableError(f"{name}: its products are not in the jaxpr")
  if name == "scan":
    body = _of_jaxpr(params["jaxpr"], _constants(params["jaxpr"]), platform)
    return body.times(int(params["length"]))
  if name == "while":
    return _while(equation, known, platform)
  if name == "cond":
    return _cond(equation, known, platform)
  if name == "shard_map":
    bound = _bind(params["jaxpr"], equation.invars, known)
    return _of_jaxpr(params["jaxpr"], bound, platform).times(_shards(params))
  if name in _CALLS:
    body = next(p for p in params.values() if _is_jaxpr(p))
    return _of_jaxpr(body, _bind(body, equation.invars, known), platform)
  if any(_holds_jaxpr(p) for p in params.values()):
    return _with_body(equation)
  return Operations(elementwise=_elementwise(equation))


def _is_jaxpr(value: Any) -> bool:
  return isinstance(value, (core.ClosedJaxpr, core.Jaxpr))


def _holds_jaxpr(value: Any) -> bool:
  if isinstance(value, (tuple, list)):
    return any(_is_jaxpr(item) for item in value)
  return _is_jaxpr(value)


def _with_body(equation: Any) -> Operations:
  """Reductions and scatters carry a scalar body; any other is unknown."""
  name = equation.primitive.name
  if name.startswith(_READS_INPUT) or name == "select_and_scatter_add":
    return Operations(elementwise=_elementwise(equation))
  raise UnreadableError(f"{name}: how often its body runs is not known")


def _elementwise(equation: Any) -> int:
  name = equation.primitive.name
  if name in _FREE:
    return 0
  if name.startswith(_READS_INPUT) and equation.invars:
    return max(_size(operand) for operand in equation.invars)
  return max((_size(out) for out in equation.outvars), default=0)


def _shards(params: Mapping[str, Any]) -> int:
  """On how many shards of its mesh a `shard_map` runs its body."""
  shape = dict(params["mesh"].shape)
  # Of axes that a `shard_map` around it has taken, only that one counts.
  names = ("newly_manual_axes", "manual_axes")
  manual = next(filter(None, map(params.get, names)), shape)
  return math.prod(int(shape[axis]) for axis in manual)


def _cond(equation: Any, known: Mapping[Any, int], platform: str) -> Operations:
  """The dearest branch, or the only one a known index can choose."""
  branches = equation.params["branches"]
  index = trips.lookup(equation.invars[0], known)
  if index is not None:
    branches = [branches[min(max(index, 0), len(branches) - 1)]]
  operands = equation.invars[1:]
  return max(
      _of_jaxpr(branch, _bind(branch, operands, known), platform)
      for branch in branches
  )


def _while(
    equation: Any, known: Mapping[Any, int], platform: str
) -> Operations:
  """Trips x body + (trips + 1) x condition."""
  params, operands = equation.params, equation.invars
  test, body = params["cond_jaxpr"], params["body_jaxpr"]
  split = params["cond_nconsts"], params["body_nconsts"]
  start = operands[sum(split) :]
  before = _bind(test, [*operands[: split[0]], *start], known)
  turns = trips.of_while(_open(test), _open(body), split, before)
  if turns is None:
    raise UnreadableError(
        "while: expected a counter with a known start, step and bound"
        f" (a static trip count), got the condition {_open(test)}"
    )
  constants = operands[split[0] : sum(split)]
  inside = _bind(body, constants, known)
  per_trip = _of_jaxpr(body, inside, platform)
  per_test = _of_jaxpr(test, _constants(test), platform)
  return per_trip.times(turns) + per_test.times(turns + 1)


def largest_array(closed: Any) -> int:
  """Bytes of the largest array any equation of a jaxpr gives."""
  largest = 0
  for equation in _open(closed).eqns:
    for out in equation.outvars:
      dtype = getattr(out.aval, "dtype", None)
      largest = max(largest, _size(out) * getattr(dtype, "itemsize", 0))
    for value in equation.params.values():
      bodies = value if isinstance(value, (tuple, list)) else (value,)
      inner = (largest_array(body) for body in bodies if _is_jaxpr(body))
      largest = max(largest, *inner, 0)
  return largest
