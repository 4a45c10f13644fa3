"""Counts of operations against counts made by hand."""

import jax
from jax import lax
from jax.extend import core
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.measure import operations

_DOT = 2 * 3 * 4 * 5  # [3,4] times [4,5]
_SQUARE = 2 * 4**3  # [4,4] times [4,4]


def _shape(*extents, dtype=jnp.float32):
  return jax.ShapeDtypeStruct(extents, dtype)


def _products(fn, *args, **keywords):
  return operations.count(fn, *args, **keywords).products


def test_a_product_costs_two_m_n_k_and_nothing_element_wise():
  counted = operations.count(jnp.dot, _shape(3, 4), _shape(4, 5))
  assert counted == operations.Operations(_DOT, 0)


def test_a_batched_contraction_over_two_axes_is_counted_whole():
  counted = _products(
      lambda a, b: jnp.einsum("bhij,bijk->bhk", a, b),
      _shape(2, 6, 3, 4),
      _shape(2, 3, 4, 5),
  )
  assert counted == 2 * 2 * 6 * 5 * (3 * 4)


def test_a_vmapped_product_counts_once_for_each_example():
  batched = jax.vmap(jnp.dot)
  assert _products(batched, _shape(7, 3, 4), _shape(7, 4, 5)) == 7 * _DOT


def test_a_scan_counts_its_body_times_its_length():
  def loop(x):
    return lax.scan(lambda c, _: (c @ c, None), x, None, length=9)[0]

  assert _products(loop, _shape(4, 4)) == 9 * _SQUARE


def test_nested_scans_multiply():
  def inner(c, _):
    return lax.fori_loop(0, 5, lambda _, d: d @ d, c), None

  loop = lambda x: lax.scan(inner, x, None, length=3)[0]
  assert _products(loop, _shape(4, 4)) == 15 * _SQUARE


def test_no_count_overflows():
  def loop(x):
    step = lambda _, c: (c @ c).astype(c.dtype)
    outer = lambda _, c: lax.fori_loop(0, 2**30, step, c)
    return lax.fori_loop(0, 2**30, outer, x)

  assert _products(loop, _shape(4, 4)) == 2**60 * _SQUARE


@pytest.mark.parametrize(
    "condition, start, step, trips",
    [
        (lambda i: i < 10, 0, lambda i: i + 1, 10),
        (lambda i: i < 10, 0, lambda i: i + 3, 4),
        (lambda i: i <= 10, 0, lambda i: 5 + i, 3),
        (lambda i: i > 0, 7, lambda i: i - 2, 4),
        (lambda i: i >= 0, 7, lambda i: i - 1, 8),
        (lambda i: i != 12, 0, lambda i: i + 4, 3),
        (lambda i: lax.gt(6, i), 1, lambda i: i + 1, 5),
        (lambda i: i < 0, 3, lambda i: i + 1, 0),
    ],
)
def test_a_counting_while_runs_as_often_as_python_says(
    condition, start, step, trips
):
  by_hand, i = 0, start
  while condition(i):
    i, by_hand = step(i), by_hand + 1
  assert by_hand == trips

  def loop(x):
    body = lambda c: (step(c[0]), c[1] @ c[1])
    return lax.while_loop(lambda c: condition(c[0]), body, (start, x))[1]

  assert _products(loop, _shape(4, 4)) == trips * _SQUARE


def test_a_while_bounded_by_a_carried_constant_is_readable():
  def loop(x):
    body = lambda c: (c[0] + 1, c[1], c[2] @ c[2])
    return lax.while_loop(lambda c: c[0] < c[1], body, (2, 8, x))[2]

  assert _products(loop, _shape(4, 4)) == 6 * _SQUARE


@pytest.mark.parametrize(
    "condition, body",
    [
        (lambda c: c[1][0, 0] < 10.0, lambda c: (c[0] + 1, c[1] @ c[1])),
        (lambda c: c[0] < 10, lambda c: (c[0] * 2, c[1] @ c[1])),
        (lambda c: c[0] < 10, lambda c: (c[0] - 1, c[1] @ c[1])),
        (lambda c: (c[0] < 9) & (c[1][0, 0] < 1), lambda c: (c[0] + 1, c[1])),
    ],
)
def test_a_while_that_cannot_be_read_raises(condition, body):
  loop = lambda x: lax.while_loop(condition, body, (1, x))[1]
  with pytest.raises(operations.UnreadableError, match="static trip count"):
    operations.count(loop, _shape(4, 4))


def test_a_comparison_that_ends_no_loop_is_no_bound():
  def loop(x):
    condition = lambda c: (c[0] < 3, c[1])[1]
    body = lambda c: (c[0] + 1, c[0] < 7, c[2] @ c[2])
    return lax.while_loop(condition, body, (0, True, x))[2]

  with pytest.raises(operations.UnreadableError, match="static trip count"):
    operations.count(loop, _shape(4, 4))


def test_a_trip_count_that_is_an_argument_raises():
  loop = lambda n, x: lax.fori_loop(0, n, lambda _, c: c @ c, x)
  with pytest.raises(operations.UnreadableError):
    operations.count(loop, jnp.int32(4), _shape(4, 4))


def test_a_cond_counts_its_dearest_branch():
  def choose(x):
    branches = [lambda y: y, lambda y: y @ y @ y, lambda y: y @ y]
    return lax.switch(x[0, 0].astype(int), branches, x)

  assert _products(choose, _shape(4, 4)) == 2 * _SQUARE


def test_a_platform_counts_its_own_branch():
  def choose(x):
    return lax.platform_dependent(
        x, cpu=lambda y: y @ y, tpu=lambda y: y @ y @ y, default=lambda y: y
    )

  counts = [
      _products(jax.jit(choose), _shape(4, 4), platform=platform)
      for platform in ("cpu", "tpu", "cuda")
  ]
  assert counts == [_SQUARE, 2 * _SQUARE, 0]


def test_nested_jit_and_custom_derivatives_count_their_body_once():
  @jax.custom_jvp
  def square(x):
    return x @ x

  @square.defjvp
  def _(primals, tangents):
    (x,), (dx,) = primals, tangents
    return square(x), dx @ x + x @ dx

  @jax.custom_vjp
  def cube(x):
    return x @ x @ x

  cube.defvjp(lambda x: (cube(x), x), lambda x, c: (c @ x,))
  x = _shape(4, 4)
  assert _products(jax.jit(jax.jit(square)), x) == _SQUARE
  assert _products(cube, x) == 2 * _SQUARE
  push = lambda x: jax.jvp(square, (x,), (x,))
  assert _products(push, x) == 3 * _SQUARE
  pull = lambda x: jax.vjp(cube, x)[1](x)
  assert _products(pull, x) == _SQUARE


def test_a_gradient_counts_the_forward_product_only_where_it_is_used():
  loss = lambda a, b: jnp.sum(a @ b)
  quadratic = lambda a, b: jnp.sum((a @ b) ** 2)
  a, b = _shape(3, 4), _shape(4, 5)
  # d(sum ab) needs no product of a and b; d(sum (ab)^2) does.
  assert _products(jax.grad(loss, argnums=(0, 1)), a, b) == 2 * _DOT
  assert _products(jax.grad(quadratic, argnums=(0, 1)), a, b) == 3 * _DOT
  assert _products(jax.value_and_grad(loss), a, b) == 2 * _DOT


def test_rematerialisation_counts_the_forward_twice():
  fn = jax.checkpoint(lambda a, b: jnp.sum(jnp.sin(a @ b)))
  a, b = _shape(3, 4), _shape(4, 5)
  both = lambda a, b: jax.value_and_grad(fn, argnums=(0, 1))(a, b)
  assert _products(both, a, b) == 4 * _DOT


def test_the_gradient_of_a_rematerialised_scan_counts_three_forwards():
  body = jax.checkpoint(lambda c, w: (jnp.sin(c @ w), None))

  def loss(x, ws):
    return jnp.sum(lax.scan(body, x, ws)[0])

  both = jax.value_and_grad(loss, argnums=(0, 1))
  counted = _products(both, _shape(4, 4), _shape(6, 4, 4))
  assert counted == 6 * 4 * _SQUARE  # forward, again, and two derivatives


def test_shards_add_up_to_the_whole():
  mesh = jax.sharding.AbstractMesh(
      (4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,)
  )
  rows = jax.sharding.PartitionSpec("x")
  every = jax.sharding.PartitionSpec()
  fn = jax.shard_map(
      lambda a, b: a @ b, mesh=mesh, in_specs=(rows, every), out_specs=rows
  )
  assert _products(fn, _shape(12, 4), _shape(4, 5)) == 4 * _DOT


def test_shards_are_of_the_axes_that_are_taken():
  mesh = jax.sharding.AbstractMesh((4, 2), ("a", "b"))
  rows = jax.sharding.PartitionSpec("a"), jax.sharding.PartitionSpec("b")
  product = lambda x: x @ x.T @ x  # of all rows that there are
  one = lambda n: 2 * 2 * n * n * 3

  def over(fn, axis):
    spec = jax.sharding.PartitionSpec(axis)
    return jax.shard_map(
        fn, mesh=mesh, in_specs=spec, out_specs=spec, axis_names={axis}
    )

  assert _products(over(product, "a"), _shape(16, 3)) == 4 * one(4)
  inner = lambda x: jax.shard_map(
      product, in_specs=rows[1], out_specs=rows[1], axis_names={"b"}
  )(x)
  assert _products(over(inner, "a"), _shape(16, 3)) == 8 * one(2)


def test_a_convolution_counts_its_kernel_at_every_output():
  fn = lambda x, w: lax.conv_general_dilated(x, w, (1,), "VALID")
  counted = _products(fn, _shape(2, 3, 10), _shape(5, 3, 4))
  assert counted == 2 * (2 * 5 * 7) * (3 * 4)
  grouped = lambda x, w: lax.conv_general_dilated(
      x, w, (1,), "VALID", feature_group_count=3
  )
  assert _products(grouped, _shape(2, 3, 10), _shape(6, 1, 4)) == (
      2 * (2 * 6 * 7) * 4
  )


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("length", [9, 10, 11])
def test_a_gradient_of_strides_multiplies_what_the_call_has(length, groups):
  def fn(x, w):
    return lax.conv_general_dilated(
        x, w, (3,), "VALID", feature_group_count=groups
    )

  x, w = _shape(2, 4, length), _shape(6, 4 // groups, 2)
  forward = _products(fn, x, w)
  assert forward == 2 * (2 * 6 * ((length - 2) // 3 + 1)) * (4 // groups * 2)

  def both(x, w):
    out, pull = jax.vjp(fn, x, w)
    return pull(jnp.ones_like(out))

  assert _products(both, x, w) == 2 * forward  # linear: no call before them


def test_what_only_moves_between_devices_is_no_arithmetic():
  mesh = jax.sharding.AbstractMesh((2,), ("x",))
  rows = jax.sharding.PartitionSpec("x")

  def fn(x):
    there = lax.ppermute(x, "x", [(0, 1)])
    gathered = lax.all_gather(there, "x", tiled=True)
    return lax.all_to_all(gathered, "x", 0, 0, tiled=True)

  moved = jax.shard_map(fn, mesh=mesh, in_specs=rows, out_specs=rows)
  assert operations.count(moved, _shape(8, 3)) == operations.Operations()


def test_a_random_key_is_no_integer():
  def fn(key):
    first, second = jax.random.split(key)
    return jax.random.normal(first, (3, 4)) @ jax.random.normal(second, (4, 5))

  assert _products(fn, jax.random.key(0)) == _DOT


@pytest.mark.parametrize("hidden", [jnp.linalg.cholesky, jnp.fft.fft])
def test_a_primitive_that_hides_its_products_raises(hidden):
  with pytest.raises(operations.UnreadableError, match="cholesky|fft"):
    operations.count(hidden, _shape(4, 4))


def test_fused_attention_of_a_vendor_hides_its_products():
  fused = core.Primitive("dot_product_attention_fwd_wrapper")
  fused.def_abstract_eval(lambda x: x)
  with pytest.raises(operations.UnreadableError, match="dot_product_attention"):
    operations.count(fused.bind, _shape(4, 4))


def test_element_wise_work_is_counted_apart():
  def fn(x):
    y = jnp.exp(x) * 2.0  # 12 + 12
    return jnp.sum(y.T.reshape(-1))  # 12 read by the reduction, moves free

  assert operations.count(fn, _shape(3, 4)) == operations.Operations(0, 36)


def test_counting_runs_nothing_and_gives_python_integers():
  counted = operations.count(
      jnp.dot, _shape(2**20, 2**20), _shape(2**20, 2**20)
  )
  assert counted.products == 2**61
  assert type(counted.products) is int
  assert type(counted.elementwise) is int


def test_concrete_arrays_count_as_their_shapes():
  a, b = np.ones((3, 4), np.float32), np.ones((4, 5), np.float32)
  assert _products(jnp.dot, a, b) == _DOT
