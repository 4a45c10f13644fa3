"""Costs of functions: what they are given, where they go, at which rates."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import pytest

from lalm.measure.targets import costs
from lalm.measure.targets import hardware
from lalm.measure.targets import topology

_NAME = "tpu-v5e-2x2"
_X = jax.ShapeDtypeStruct((8, 16), jnp.bfloat16)

_ELSEWHERE = jax.sharding.NamedSharding(
    jax.sharding.Mesh(jax.devices()[:1], ("tokens",)), P()
)


@pytest.fixture(name="of")
def _of(monkeypatch):
  """`costs.of` of a machine whose compiler is that of the CPU."""
  if jax.device_count() < 4:
    pytest.skip("four devices are needed")
  monkeypatch.setattr(topology, "devices", lambda name: jax.devices()[:4])
  return lambda f, x, specs=None: costs.of(f, x, _NAME, specs)


def _double(x):
  return x * 2


def _exact(x, y):
  return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


@pytest.mark.parametrize(
    ("function", "arguments", "specs", "message"),
    [
        (3, (_X,), None, "function: expected a jittable one, got int"),
        (jax.jit(_double).lower(_X), (_X,), None, "function: .* got Lowered"),
        (_double, _X, None, "arguments: expected a tuple, got ShapeDtype"),
        (_double, ("a",), None, "arguments: expected arrays.* got str"),
        (_double, (2**40,), None, "arguments: .*got 1099511627776"),
        (
            jax.jit(lambda x, n: x if n == 3 else 2 * x, static_argnums=1),
            (_X, 3),
            None,
            "function: expected no static arguments",
        ),
        (_double, (_X,), P("tokens"), "specs: expected a tuple"),
        (_double, (_X,), (None, None), "specs: expected 1, one an argument"),
        (_double, (_X,), ({"a": P()},), "specs: expected a PartitionSpec"),
        (_double, (_X,), (_ELSEWHERE,), "sharding: expected one on the targ"),
    ],
)
def test_a_plain_mistake_is_named(of, function, arguments, specs, message):
  with pytest.raises(ValueError, match=message):
    of(function, arguments, specs)


def test_numbers_are_arguments_that_leave_the_dtype_as_it_is(of):
  found = of(lambda x, y: x * y, (_X, 2.0))
  assert found.output_bytes == 8 * 16 * 2
  assert found.argument_bytes == 8 * 16 * 2 + 4


@pytest.mark.parametrize("arguments", [(), (_X,)])
def test_what_reads_no_argument_goes_to_the_machine(of, monkeypatch, arguments):
  lowered = []
  monkeypatch.setattr(costs, "read", lambda made, name: lowered.append(made))
  of(lambda *given: jnp.ones((8, 8)), arguments)
  assert "num_partitions = 4" in lowered[0].program.as_text()


def test_what_only_the_result_splits_is_shared(of):
  x = jax.ShapeDtypeStruct((256, 256), jnp.float32)
  own = jax.sharding.NamedSharding(topology.mesh(_NAME, "tokens"), P("tokens"))
  shared = of(jax.jit(_exact, out_shardings=own), (x, x))
  alone = of(_exact, (x, x))
  moved = lambda found: found._replace(traffic=0.0, collectives={})
  machine = hardware.get(_NAME)
  products = 2 * 256**3 / machine.chip.products["float32"]
  assert costs.roofline(moved(shared), machine) == products / 4
  assert alone.roofline_seconds >= products
  assert shared.roofline_seconds < alone.roofline_seconds


def test_a_struct_keeps_the_sharding_it_has(of):
  mesh = topology.mesh(_NAME, "rows")
  own = jax.sharding.NamedSharding(mesh, P("rows"))
  split = jax.ShapeDtypeStruct(_X.shape, _X.dtype, sharding=own)
  parts = [of(_double, (split,)), of(_double, (_X,), (own,))]
  parts.append(of(_double, (_X,), (P("tokens"),)))
  assert {found.argument_bytes for found in parts} == {8 * 16 * 2 // 4}
  assert of(_double, (_X,)).argument_bytes == 8 * 16 * 2


def test_devices_that_all_do_the_same_do_not_share_it(of):
  x = jax.ShapeDtypeStruct((256, 256), jnp.bfloat16)
  product = lambda x, y: x @ y
  rate = hardware.get(_NAME).chip.products["bfloat16"]
  same, shared = of(product, (x, x)), of(product, (x, x), (P("tokens"), None))
  assert same.operations == shared.operations
  assert same.roofline_seconds >= 2 * 256**3 / rate
  moved = lambda found: found._replace(traffic=0.0)
  machine = hardware.get(_NAME)
  assert costs.roofline(moved(shared), machine) == 2 * 256**3 / rate / 4


def test_a_loop_of_unknown_length_leaves_what_is_known(of):
  double = lambda x: jax.lax.while_loop(
      lambda x: jnp.sum(x) < 10, lambda x: 2 * x, x
  )
  found = of(double, (_X,))
  assert found.argument_bytes == 8 * 16 * 2 and found.peak_bytes > 0
  assert found.traffic is found.roofline_seconds is found.operations is None


@pytest.mark.parametrize(("platform", "most"), [("tpu", 24), ("cuda", 50)])
def test_constants_are_live_too(platform, most):
  names = ("argument", "output", "temp", "alias", "generated_code", "peak")
  sizes = dict(zip(names, (8, 8, 8, 4, 4, 50)))
  assert costs._peak(sizes, platform) == most
