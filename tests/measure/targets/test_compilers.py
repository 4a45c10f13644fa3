"""Every form compiles for TPU, where its compiler is installed."""

import importlib.util

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.measure import kernel
from lalm.measure.targets import absent
from lalm.measure.targets import costs
from lalm.measure.targets import hardware
from lalm.measure.targets import topology

pytestmark = [
    pytest.mark.tpu_compiler,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason='the TPU compiler is not installed: pip install "lalm[tpu]"',
    ),
]
_POINT = {
    "length": 64, "batch": 1, "heads": 2, "width": 16, "value_width": 16,
    "dtype": "float32", "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
_FORMS = [
    (name, form)
    for name in catalogue.names()
    for form in catalogue.get(name).forms
    if form != "step"
]


def _measured(name, form, **fields):
  causal = catalogue.get(name).causal
  point = {**_POINT, "mechanism": name, "form": form, "causal": causal}
  target = absent.Target(kernel.TARGET, hardware.get("tpu-v5e-2x2"))
  return target.measure({**point, **fields}, 0, {})


@pytest.mark.parametrize("pass_", ["forward", "forward_backward"])
@pytest.mark.parametrize(("name", "form"), _FORMS)
def test_every_form_compiles(name, form, pass_):
  record = _measured(name, form, **{"pass": pass_})
  assert record["status"] == "ok"
  assert record["memory"]["device_bytes"] > 0
  assert record["estimate"]["compiler_seconds"] > 0


def test_memory_of_scores_is_quadratic_and_of_states_linear():
  sizes = {
      (name, length): _measured(
          name, form, length=length, heads=8, width=64, value_width=64,
          **{"pass": "forward"},
      )["memory"]["device_bytes"]
      for name, form in (("softmax", "parallel"), ("linear", "chunkwise"))
      for length in (2**14, 2**15)
  }  # fmt: skip
  assert sizes["softmax", 2**15] > 3.9 * sizes["softmax", 2**14]
  assert sizes["linear", 2**15] == pytest.approx(
      2 * sizes["linear", 2**14], rel=0.02
  )


_SHAPE = jax.ShapeDtypeStruct
_T = P("tokens")


def _mesh(name):
  """The devices of a machine, or why there is no test of them."""
  try:
    return topology.mesh(name, "tokens")
  except topology.Missing as missing:
    pytest.skip(str(missing))


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float8_e4m3fn"])
@pytest.mark.parametrize("name", ["tpu-v5e-2x2", "h100"])
def test_a_product_moves_its_operands_and_its_result(name, dtype):
  _mesh(name)
  x = _SHAPE((4096, 4096), dtype)
  product = lambda x, y: jax.lax.dot(x, y, preferred_element_type=jnp.bfloat16)
  found = costs.of(product, (x, x), name)
  least = found.argument_bytes + found.output_bytes
  assert least <= found.traffic <= 1.1 * least


@pytest.mark.parametrize("name", ["tpu-v5e-2x2", "h100x8"])
@pytest.mark.parametrize(
    ("kind", "send", "out", "sizes"),
    [
        ("all-reduce", jax.lax.psum, P(), 1),
        ("all-gather", jax.lax.all_gather, P(), None),
        ("reduce-scatter", jax.lax.psum_scatter, _T, 1),
        ("all-to-all", jax.lax.all_to_all, _T, 1),
    ],
)
def test_what_devices_send_is_counted_by_hand(name, kind, send, out, sizes):
  mesh = _mesh(name)
  options = {} if kind == "all-reduce" else {"tiled": True}
  if kind == "all-to-all":
    options |= {"split_axis": 0, "concat_axis": 0}
  one = jax.shard_map(
      lambda x: send(jnp.sin(x), "tokens", **options),
      mesh=mesh, in_specs=_T, out_specs=out, check_vma=False,
  )  # fmt: skip
  x = _SHAPE((1024 * mesh.size, 1024), jnp.float32)
  found = costs.of(one, (x,), name, (_T,)).collectives
  size = 1024 * 1024 * 4 * (sizes or mesh.size)
  assert found == {kind: (1, size)}


@pytest.mark.parametrize("step", [lambda i, s: 2 * i, lambda i, s: i + s])
def test_of_a_loop_with_a_step_that_is_not_constant_bytes_are_known(step):
  def loop(x, s):
    turn = lambda c: (step(c[0], s), jnp.sin(c[1]))
    return jax.lax.while_loop(lambda c: c[0] < 1000, turn, (1, x))

  shapes = (_SHAPE((512, 512), jnp.float32), _SHAPE((), jnp.int32))
  found = costs.of(loop, shapes, "tpu-v5e-2x2")
  assert found.traffic is None and found.roofline_seconds is None
  assert found.peak_bytes >= found.argument_bytes + found.output_bytes


def test_an_array_that_a_function_holds_is_live():
  name = "tpu-v5e-2x2"
  held = jnp.asarray(np.random.default_rng(0).normal(size=(2048, 2048)))
  held = held.astype(jnp.bfloat16)
  x = _SHAPE((128, 2048), jnp.bfloat16)
  inside = costs.of(lambda x: x @ held, (x,), name)
  given = costs.of(lambda x, y: x @ y, (x, held), name)
  assert inside.argument_bytes < given.argument_bytes
  assert inside.peak_bytes == pytest.approx(given.peak_bytes, rel=0.05)


@pytest.mark.parametrize("arguments", [(), (_SHAPE((8, 8), jnp.float32),)])
def test_what_reads_no_argument_is_compiled_for_the_machine(arguments):
  one = lambda *given: jnp.sin(jnp.ones((1024, 1024)))
  found = costs.of(one, arguments, "tpu-v5e-2x2")
  assert found.compiler_seconds > 0  # this machine's compiler says none


@pytest.mark.parametrize(
    "name", ["tpu-v5e-2x2", "tpu-v5p-2x2x1", "tpu-v6e-2x2"]
)
def test_memory_is_what_the_compiler_allows(name):
  memory = hardware.get(name).chip.memory / 2**30
  allowed = rf"exceeds available HBM \({memory:.2f}G\)"
  x = _SHAPE((400_000, 400_000), jnp.float32)
  with pytest.raises(jax.errors.JaxRuntimeError, match=allowed):
    costs.of(lambda x: jnp.sin(x)[::-1] @ jnp.cos(x), (x,), name)


def test_rows_added_in_place_are_all_that_moves():
  add = jax.jit(lambda x, i, u: x.at[i].add(u), donate_argnums=0)
  rows = _SHAPE((8, 1024), jnp.float32)
  shapes = (_SHAPE((65536, 1024), jnp.float32), _SHAPE((8,), jnp.int32), rows)
  found = costs.of(add, shapes, "tpu-v5e-2x2")
  assert 3 * 8 * 4096 <= found.traffic <= 4 * 8 * 4096


def test_a_product_that_is_summed_and_scattered_is_sent_once():
  scattered = jax.shard_map(
      lambda x, w: jax.lax.psum_scatter(x @ w, "tokens", tiled=True),
      mesh=_mesh("tpu-v5e-2x2"), in_specs=(_T, P()), out_specs=_T,
      check_vma=False,
  )  # fmt: skip
  shapes = [_SHAPE((4096 * n, 4096), jnp.bfloat16) for n in (4, 1)]
  found = costs.of(scattered, shapes, "tpu-v5e-2x2", (_T, None))
  size = 4096 * 4096 * 2  # and what the compiler pads its tiles with
  assert size <= found.communication <= 1.2 * size
