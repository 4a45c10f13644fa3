"""Meshes of other sizes and kinds, and what a split call is given."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.sharding import sequence
from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close

pytestmark = pytest.mark.usefixtures("quickly_compiled")


@functools.cache
def _mesh(devices=4):
  if jax.device_count() < 8:
    pytest.skip(f"8 devices are needed, {jax.device_count()} are here")
  found = np.array(jax.devices()[: 2 * devices])
  return Mesh(found.reshape(2, devices), ("copies", "seq"))


def _forms(name, mesh=None):
  """The fast form of a mechanism, split over "seq" and on one device."""
  entry = catalogue.get(name)
  form = entry.featured[-1]
  split = sequence.split(entry, form, mesh or _mesh(), "seq")
  return split, entry.forms[form]


def _compare(spread, alone, bound, *arrays, **named):
  out, state = spread(*arrays, **named)
  expected = alone(*arrays, **named)
  assert_close(out, expected.out, bound)
  for got, want in zip(state, expected.state, strict=True):
    assert_close(got, want, bound, "state")


@pytest.mark.parametrize(
    ("name", "devices"),
    [
        pytest.param("loglinear", 3, marks=pytest.mark.slow),
        ("mamba2", 4),
        pytest.param("mlstm", 3, marks=pytest.mark.slow),
    ],
)
def test_a_state_of_a_document_that_has_ended_leaves_nothing(name, devices):
  case = cases.Case("ended", length=24, dtype="float32", packed=True)
  arrays, gates, _ = cases.make(name, case)
  # Its id is that of a later document: a call numbers its own anew.
  ids = np.repeat([[0, 1, 5, 7]], [5, 7, 8, 4], axis=1)
  ids = np.broadcast_to(ids, (case.batch, 24)).astype(np.int8)
  state = subject.function(name, "chunkwise")(*arrays, **gates).state
  state = state._replace(segment=jnp.full(case.batch, 5, jnp.int32))
  spread, alone = _forms(name, _mesh(devices))
  named = {**gates, "state": state, "segment_ids": ids}
  _compare(spread, alone, 2 * forward("float32", 24), *arrays, **named)


def test_the_last_of_three_devices_knows_of_the_first():
  case = cases.Case("three", length=24, dtype="float32")
  arrays, gates, _ = cases.make("loglinear", case)
  named = {**gates, "log_decay": None}  # nothing is forgotten
  bound = 2 * forward("float32", 24)
  _compare(*_forms("loglinear", _mesh(3)), bound, *arrays, **named)


@pytest.mark.parametrize(
    "name", [pytest.param("loglinear", marks=pytest.mark.slow), "mlstm"]
)
def test_decays_of_16_bits_are_summed_in_32(name):
  case = cases.Case("16 bits", length=48, dtype="bfloat16")
  arrays, gates, _ = cases.make(name, case)
  gates = {n: jnp.asarray(x, jnp.bfloat16) for n, x in gates.items()}
  spread, alone = _forms(name, _mesh(3))
  out, state = spread(*arrays, **gates)
  expected = alone(*arrays, **gates)
  assert_close(out, expected.out, 2 * forward("bfloat16", 48))
  for got, want in zip(state, expected.state, strict=True):
    assert_close(got, want, 2 * forward("float32", 48), "state")


def test_the_gradient_of_a_scale_that_sums_are_divided_by_is_there():
  case = cases.Case("scale", length=16, dtype="float32")
  arrays, gates, _ = cases.make("mlstm", case)
  spread, alone = _forms("mlstm")
  state = alone(*arrays, **gates).state

  def loss(form, m):
    result = form(*arrays, **gates, state=state._replace(m=m))
    return jnp.sum(jnp.sin(result.out))

  grads = [
      jax.grad(functools.partial(loss, f))(state.m) for f in (spread, alone)
  ]
  assert float(jnp.abs(grads[1]).max()) > 0
  assert_close(*grads, 10 * forward("float32", 16), "gradient")


@pytest.mark.parametrize("decay", [1.0, 100.0])
def test_what_grows_before_a_document_ends_is_gone_after(decay):
  case = cases.Case("growth", length=16, dtype="float32")
  arrays, gates, _ = cases.make("mlstm", case)
  log_decay = np.zeros_like(gates["log_decay"])
  log_decay[:, :2] = decay
  ids = np.zeros((case.batch, 16), np.int32)
  ids[:, 3:] = 1
  named = {**gates, "log_decay": log_decay, "segment_ids": ids}
  bound = 2 * forward("float32", 16)
  _compare(*_forms("mlstm"), bound, *arrays, **named)


def test_full_attention_has_as_many_keys_as_it_likes():
  case = cases.Case("cross", length=16, dtype="float32", causal=False)
  arrays, _, _ = cases.make("linear", case)
  q, k, v = arrays
  k, v = (np.concatenate([x, x[:, ::-1]], axis=1) for x in (k, v))
  spread, alone = _forms("linear")
  _compare(spread, alone, forward("float32", 32), q, k, v, causal=False)


@pytest.mark.parametrize("name", ["retnet", "deltanet"])
def test_any_decay_may_be_of_each_token(name):
  case = cases.Case("decays", length=16, dtype="float32")
  arrays, gates, _ = cases.make(name, case)
  shape = (case.batch, 16, case.heads)
  decay = -np.random.default_rng(5).exponential(size=shape)
  named = {**gates, "log_decay": decay.astype(np.float32)}
  _compare(*_forms(name), 2 * forward("float32", 16), *arrays, **named)


@pytest.mark.parametrize("name", ["softmax", "mamba2"])
def test_axes_may_be_explicit(name):
  _mesh()
  mesh = jax.make_mesh(
      (4,),
      ("seq",),
      devices=jax.devices()[:4],
      axis_types=(jax.sharding.AxisType.Explicit,),
  )
  case = cases.Case("explicit", length=16, dtype="float32")
  arrays, gates, _ = cases.make(name, case)
  spread, alone = _forms(name, mesh)
  expected = alone(*arrays, **gates).out
  bound = 2 * forward("float32", 16)
  own = jax.sharding.NamedSharding(
      mesh, jax.sharding.PartitionSpec(None, "seq")
  )
  for call in (spread, jax.jit(spread)):
    assert_close(call(*arrays, **gates).out, expected, bound)
    placed = jax.device_put(arrays, own)
    assert_close(call(*placed, **gates).out, expected, bound)


def test_a_second_call_outside_of_a_program_compiles_nothing(caplog):
  case = cases.Case("eager", length=16, dtype="float32")
  arrays, gates, _ = cases.make("mamba2", case)
  spread, _ = _forms("mamba2")
  with jax.log_compiles():
    spread(*arrays, **gates)
    assert any("compil" in x.message.lower() for x in caplog.records)
    caplog.clear()
    first = spread(*arrays, **gates).out
    assert not [x.message for x in caplog.records if "XLA" in x.message]
  moved = jax.device_put(arrays, jax.devices()[3])  # wherever they are
  assert jnp.array_equal(spread(*moved, **gates).out, first)


def test_in_a_program_nothing_stands_between():
  case = cases.Case("program", length=16, dtype="float32")
  arrays, gates, _ = cases.make("mamba2", case)
  spread, _ = _forms("mamba2")
  made = jax.make_jaxpr(lambda *x: spread(*x, **gates).out)(*arrays)
  names = [equation.primitive.name for equation in made.eqns]
  assert "shard_map" in names and not {"jit", "pjit"} & set(names)


def test_axes_of_two_kinds_are_in_one_mesh():
  _mesh()
  explicit, auto = jax.sharding.AxisType.Explicit, jax.sharding.AxisType.Auto
  case = cases.Case("kinds", length=16, dtype="float32")
  arrays, gates, _ = cases.make("mamba2", case)
  bound = 2 * forward("float32", 16)
  for kinds in ((explicit, auto), (auto, explicit)):
    mesh = jax.make_mesh((2, 4), ("data", "seq"), axis_types=kinds)
    spread, alone = _forms("mamba2", mesh)
    _compare(spread, alone, bound, *arrays, **gates)


@pytest.mark.parametrize(
    "name",
    [
        "mamba2",
        pytest.param("gated_deltanet", marks=pytest.mark.slow),
        "window",
    ],
)
def test_gradients_may_be_batched(name):
  case = cases.Case("batched", length=8, dtype="float32")
  arrays, gates, _ = cases.make(name, case)
  q, k, v = map(jnp.asarray, arrays)
  several = jnp.stack([v, 2 * v])  # as many as sequences in a batch
  bound = 10 * forward("float32", 8)

  def gradients(form):
    loss = lambda v: jnp.sum(jnp.sin(form(q, k, v, **gates).out))
    return jax.jit(jax.vmap(jax.grad(loss)))(several)

  assert_close(*map(gradients, _forms(name)), bound, "gradient")


@pytest.mark.parametrize(
    "name", ["mamba2", pytest.param("loglinear", marks=pytest.mark.slow)]
)
def test_a_sequence_is_split_within_a_split_batch(name):
  case = cases.Case("within", length=16, dtype="float32")
  arrays, gates, _ = cases.make(name, case)
  arrays = [jnp.concatenate([x, x]) for x in map(jnp.asarray, arrays)]
  gates = {n: jnp.concatenate([x, x]) for n, x in gates.items()}
  spread, alone = _forms(name)
  bound = 10 * forward("float32", 16)

  def outer(form, v):
    batch = jax.sharding.PartitionSpec("copies")
    call = lambda q, k, v, gates: form(q, k, v, **gates).out
    run = jax.shard_map(
        call,
        mesh=_mesh(),
        axis_names={"copies"},
        in_specs=batch,
        out_specs=batch,
        check_vma=False,
    )
    return (
        run(*arrays[:2], v, gates)
        if form is spread
        else call(*arrays[:2], v, gates)
    )

  for of in (lambda out: out, jnp.cos):
    loss = lambda form, v: jnp.sum(of(outer(form, v)))
    found = [
        jax.jit(jax.grad(functools.partial(loss, form)))(arrays[2])
        for form in (spread, alone)
    ]
    assert_close(*found, bound, "gradient")
  assert_close(
      jax.jit(functools.partial(outer, spread))(arrays[2]),
      outer(alone, arrays[2]),
      bound,
  )


def test_a_split_form_is_used_within_one_mesh_and_another():
  case = cases.Case("two meshes", length=16, dtype="float32")
  (q, k, v), _, _ = cases.make("linear", case)
  spread, alone = _forms("linear")
  batch = jax.sharding.PartitionSpec("copies")
  expected = alone(q, k, v).out
  for devices in (4, 2):
    run = jax.shard_map(
        lambda *arrays: spread(*arrays).out,
        mesh=_mesh(devices),
        axis_names={"copies"},
        in_specs=batch,
        out_specs=batch,
        check_vma=False,
    )
    assert_close(jax.jit(run)(q, k, v), expected, forward("float32", 32))


def test_an_axis_that_is_taken_is_refused():
  case = cases.Case("taken", length=16, dtype="float32")
  arrays, _, _ = cases.make("linear", case)
  spread, _ = _forms("linear")
  tokens = jax.sharding.PartitionSpec(None, "seq")
  run = jax.shard_map(
      lambda *arrays: spread(*arrays).out,
      mesh=_mesh(),
      in_specs=tokens,
      out_specs=tokens,
      check_vma=False,
  )
  with pytest.raises(ValueError, match="axis: .* leaves free .*got 'seq'"):
    run(*arrays)


def test_a_document_that_has_ended_hands_nothing_on():
  case = cases.Case("not finite", length=16, dtype="float32")
  arrays, gates, _ = cases.make("loglinear", case)
  q, k, v = map(jnp.asarray, arrays)
  k = k.at[:, 2].set(jnp.nan)
  for begins in (5, 8):
    ids = np.zeros((case.batch, 16), np.int32)
    ids[:, begins:] = 1
    out, state = _forms("loglinear")[0](q, k, v, **gates, segment_ids=ids)
    assert jnp.isfinite(out[:, begins:]).all()
    assert jnp.isfinite(state.S).all()


def _refused(name, message, *arrays, **keywords):
  with pytest.raises(ValueError, match=message):
    _forms(name)[0](*arrays, **keywords)


def test_what_one_device_refuses_is_refused_in_its_words():
  arrays, _, _ = cases.make("linear", cases.Case("refused", length=16))
  q, k, v = arrays
  few = catalogue.get("linear").init(1, 2, 6, 5)
  _refused("linear", r"state.*expected", *arrays, state=few)
  _refused("linear", "block", *arrays, block=0)
  _refused("linear", "block", *arrays, block="a")
  _refused("window", "k: expected", q, k[0], v)
  _refused("linear", "feature_map: .* got 'x'", *arrays, feature_map="x")
  for name in ("softmax", "linear"):
    _refused(
        name, "segment_ids: expected", *arrays, segment_ids=np.zeros(16, int)
    )
    _refused(name, "q", q[0], k, v)
  none = [x[:, :0] for x in arrays]
  _refused("softmax", "q: expected axis T >= 1, got 0", *none)
  odd = q, k[:, :15], v[:, :15]
  _refused("linear", "k: expected a multiple of 4.* got 15", *odd, causal=False)
