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

import dataclasses
import math
from typing import Any, Callable, Mapping, Sequence

import jax
from jax.extend import core
from jax.interpreters import partial_eval

from lalm.attention import tuning

# They move, name or convert values: no arithmetic worth counting.
_FREE = frozenset("""
  all_gather all_to_all bitcast_convert_type broadcast_in_dim concatenate convert_element_type copy
  copy_p create_token debug_callback debug_print device_put
  dynamic_slice dynamic_update_slice empty empty2 expand_dims gather iota name
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
# Of two operands the other way round.
MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "ne": "ne"}


class UnreadableError(ValueError):
  """The number of operations cannot be read from the program."""


@dataclasses.dataclass(frozen=True, order=True)
class Operations:
  """Exact numbers of operations; `products` counts 2mnk for a product."""

  products: int = 0
  elementwise: int = 0

  def __add__(self, other: "Operations") -> "Operations":
    return Operations(
        self.products + other.products, self.elementwise + other.elementwise
    )

  def times(self, count: int) -> "Operations":
    """The operations of `count` runs."""
    return Operations(self.products * count, self.elementwise * count)


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


def _integer(value: Any) -> int | None:
  """The value as a Python integer if it is a concrete scalar integer."""
  dtype = getattr(value, "dtype", None)
  if isinstance(value, int):
    return int(value)
  if dtype is None or getattr(value, "shape", None) != ():
    return None
  return int(value) if dtype.kind in "iub" else None


def _constants(jaxpr: Any) -> dict[Any, int]:
  """The integer constants a closed jaxpr carries, by variable."""
  pairs = zip(_open(jaxpr).constvars, getattr(jaxpr, "consts", ()))
  known = {variable: _integer(value) for variable, value in pairs}
  return {variable: v for variable, v in known.items() if v is not None}


def _lookup(atom: Any, known: Mapping[Any, int]) -> int | None:
  """The integer behind a literal or variable, None where it is not known."""
  return _integer(atom.val) if hasattr(atom, "val") else known.get(atom)


def _bind(
    inner: Any, operands: Sequence[Any], known: Mapping[Any, int]
) -> dict[Any, int]:
  """What a body knows of its inputs, given the operands of its call."""
  values = [_lookup(operand, known) for operand in operands]
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
  values = (_lookup(atom, inside) for atom in _open(body).outvars)
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
    value = _lookup(equation.invars[0], known)
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
  if name == "dot_general":
    return Operations(products=_dot(equation))
  if name == "conv_general_dilated":
    return Operations(products=_convolution(equation))
  if name in _OPAQUE:
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


def _dot(equation: Any) -> int:
  """2 x elements of the output x length of the contraction."""
  (contracted, _), _ = equation.params["dimension_numbers"]
  shape = equation.invars[0].aval.shape
  inner = math.prod(int(shape[axis]) for axis in contracted)
  return 2 * _size(equation.outvars[0]) * inner


def _convolution(equation: Any) -> int:
  """2 x elements of the output x kernel elements behind each of them.

  Zeros that dilate the input, as a gradient's do where strides are, are none.
  """
  params = equation.params
  shapes = [atom.aval.shape for atom in (*equation.invars, *equation.outvars)]
  given, kernel, made = (
      [int(shape[axis]) for axis in order]
      for shape, order in zip(shapes, params["dimension_numbers"])
  )
  spatial = zip(
      given[2:], kernel[2:], made[2:], params["window_strides"],
      params["padding"], params["lhs_dilation"], params["rhs_dilation"],
  )  # fmt: skip
  # Of batch, features, and input features behind each: kernels know groups.
  return 2 * made[0] * made[1] * kernel[1] * math.prod(map(_taps, spatial))


def _taps(dimension: tuple) -> int:
  """Pairs of an output and a kernel element in one dimension."""
  given, kernel, made, stride, (before, _), dilated, apart = dimension
  if dilated == 1:
    return kernel * made
  last = (given - 1) * dilated
  places = (
      output * stride + tap * apart - before
      for output in range(made)
      for tap in range(kernel)
  )
  return sum(place % dilated == 0 and 0 <= place <= last for place in places)


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
  manual = params.get("manual_axes") or shape
  return math.prod(int(shape[axis]) for axis in manual)


def _cond(equation: Any, known: Mapping[Any, int], platform: str) -> Operations:
  """The dearest branch, or the only one a known index can choose."""
  branches = equation.params["branches"]
  index = _lookup(equation.invars[0], known)
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
  trips = _trips(_open(test), _open(body), split, before)
  if trips is None:
    raise UnreadableError(
        "while: expected a counter with a known start, step and bound"
        f" (a static trip count), got the condition {_open(test)}"
    )
  constants = operands[split[0] : sum(split)]
  inside = _bind(body, constants, known)
  per_trip = _of_jaxpr(body, inside, platform)
  per_test = _of_jaxpr(test, _constants(test), platform)
  return per_trip.times(trips) + per_test.times(trips + 1)


def _trips(
    test: Any, body: Any, split: tuple[int, int], before: Mapping[Any, int]
) -> int | None:
  """Trip count of a counting loop; None where it is no such loop.

  Args:
    test: the condition; it must be one comparison of two scalars.
    body: the body, which must step one of them by a constant and leave the
      other alone.
    split: numbers of constants of the condition and of the body.
    before: the known inputs of the condition before the first trip.
  """
  if len(test.eqns) != 1 or test.eqns[0].primitive.name not in MIRRORED:
    return None
  comparison = test.eqns[0].primitive.name
  left, right = test.eqns[0].invars
  steps = _step(left, test, body, split), _step(right, test, body, split)
  first, last = _lookup(left, before), _lookup(right, before)
  if first is None or last is None:
    return None
  if steps[0] == 0:  # the bound is on the left: turn the comparison round
    comparison, first, last = MIRRORED[comparison], last, first
    steps = steps[1], steps[0]
  step, still = steps
  if step is None or still != 0:
    return None  # not a counter, or a bound that moves
  return turns(comparison, first, last, step)


def _step(
    atom: Any, test: Any, body: Any, split: tuple[int, int]
) -> int | None:
  """What one trip adds to this input of the condition; None if unknown."""
  if hasattr(atom, "val") or atom not in test.invars:
    return 0
  place = test.invars.index(atom) - split[0]
  if place < 0:
    return 0  # a constant of the condition
  before, after = body.invars[split[1] + place], body.outvars[place]
  if after is before:
    return 0
  for equation in body.eqns:
    if after in equation.outvars:
      return _increment(equation, before)
  return None


def _increment(equation: Any, before: Any) -> int | None:
  """The literal that `before + literal` or `before - literal` adds."""
  if equation.primitive.name not in ("add", "sub"):
    return None
  left, right = equation.invars
  if equation.primitive.name == "add" and right is before:
    left, right = right, left
  if left is not before or not hasattr(right, "val"):
    return None
  value = _integer(right.val)
  if value is None:
    return None
  return value if equation.primitive.name == "add" else -value


def turns(comparison: str, first: int, last: int, step: int) -> int | None:
  """Returns the trips of `while first <comparison> last: first += step`.

  Args:
    comparison: lt, le, gt, ge or ne.
    first: the counter before the first trip.
    last: the bound.
    step: what a trip adds.

  Returns:
    How many; None where they do not end.
  """
  gap = last - first
  if comparison in ("gt", "ge"):
    comparison, gap, step = MIRRORED[comparison], -gap, -step
  if comparison == "le":
    comparison, gap = "lt", gap + 1
  if comparison == "lt":
    if gap <= 0:
      return 0
    return -(-gap // step) if step > 0 else None
  return gap // step if step and gap % step == 0 and gap // step >= 0 else None


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
