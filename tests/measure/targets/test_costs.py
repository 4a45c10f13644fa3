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
        (_double, (_X,), P("tokens"), "specs: expected a tuple"),
        (_double, (_X,), (None, None), "specs: expected 1, one an argument"),
        (_double, (_X,), ({"a": P()},), "specs: expected a PartitionSpec"),
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


@pytest.mark.parametrize(
    ("function", "dtypes", "slowest"),
    [
        (lambda x, y, s: (x @ y) * s, ("bfloat16", "bfloat16", "float32"), 16),
        (lambda x, y, s: x @ y, ("float32",) * 3, "fast"),
        (
            lambda x, y, s: jax.lax.scan(
                lambda c, _: (jax.jit(_exact)(c, y), None), x, length=3
            )[0],
            ("float32", "float32", "bfloat16"),
            32,
        ),
        (lambda x, y, s: _exact(x, y) @ y, ("float32",) * 3, 32),
        (lambda x, y, s: x + y + s, ("bfloat16", "bfloat16", "bfloat16"), 32),
        (lambda x, y, s: x @ y, ("int8", "int8", "float32"), 8),
    ],
)
def test_products_go_at_the_rate_of_their_operands(function, dtypes, slowest):
  given = [jax.ShapeDtypeStruct((16, 16), dtype) for dtype in dtypes]
  jaxpr = jax.jit(function).trace(*given).jaxpr
  names = {8: "int8", 16: "bfloat16", 32: "float32", "fast": hardware.FAST}
  chip = hardware.get(_NAME).chip
  assert costs._slowest(jaxpr, chip) == names[slowest]
