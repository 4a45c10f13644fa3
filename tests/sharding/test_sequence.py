"""A sequence that is split over eight devices is the sequence on one."""

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.sharding import sequence
from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import backward
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close

pytestmark = pytest.mark.usefixtures("quickly_compiled")

DEVICES = 8
CASES = (
    cases.Case("causal", length=40),
    cases.Case("packed, grouped heads", length=40, packed=True, heads=4,
               kv_heads=2, scale=0.7),
    cases.Case("float32", length=136, dtype="float32", seed=3),
    cases.Case("full", length=40, causal=False),
)  # fmt: skip


def _splits(name):
  """Whether the mechanism's sequence can be split."""
  try:
    sequence.way(catalogue.get(name))
  except ValueError:
    return False
  return True


def _full(name):
  """Whether its full form is split too: a window's would see ahead."""
  return name != "window" and catalogue.get(name).full


SPLIT = tuple(name for name in catalogue.names() if _splits(name))
WHOLE = tuple(name for name in catalogue.names() if not _splits(name))
# One of each transition, in its fast form, is tried in the quick suite.
QUICK = (
    "softmax",
    "window",
    "loglinear",
    "linear",
    "mlstm",
    "mamba2",
    "gla",
    "gated_deltanet",
)

# Whose values are tried without their gradients, which go through them.
_VALUES = ("window", "loglinear", "mlstm", "gla")


# Of whom it is seen that devices hold their own tokens: one of each split.
_ALONE = ("softmax", "window", "linear", "mamba2")


def _marks(name, form="", case=CASES[1], names=_ALONE):
  quick = name in names and form in ("", *catalogue.get(name).featured[-1:])
  quick &= case.packed or (not case.causal and name == "linear")
  return () if quick else pytest.mark.slow


def _rows(names):
  """Every form and case, those of some mechanisms in the quick suite."""
  return [
      pytest.param(
          name,
          form,
          case,
          id=f"{name}-{form}-{case.name}",
          marks=_marks(name, form, case, names),
      )
      for name in SPLIT
      for form in catalogue.get(name).forms
      for case in CASES
      if form != "step" and (case.causal or _full(name))
  ]


@functools.cache
def _mesh():
  if jax.device_count() < DEVICES:
    pytest.skip(f"{DEVICES} devices are needed, {jax.device_count()} are here")
  return Mesh(np.array(jax.devices()[:DEVICES]), (sequence.TOKENS,))


def _given(name, form, case):
  """Arrays, gates and ids of a case, and the options of its form."""
  arrays, gates, ids = cases.make(name, case)
  named = dict(gates)
  if ids is not None:
    named["segment_ids"] = ids
  return arrays, named, subject.options(name, form, case)


def _state(name, form, case):
  """A state that some tokens have left; None where a mechanism passes none."""
  if name == "softmax":
    return None
  before = dataclasses.replace(case, length=11, packed=False, seed=9)
  arrays, gates, _ = cases.make(name, before)
  if name == "window":  # the size of the ring
    gates = {**gates, "window": subject.options(name, form, case)["window"]}
  if name == "loglinear":  # as many levels as the case has
    more = cases.make(name, case).gates["weights"].shape[-1]
    pad = [(0, 0)] * 3 + [(0, more - gates["weights"].shape[-1])]
    gates = {**gates, "weights": np.pad(gates["weights"], pad)}
  state = subject.function(name, form)(*arrays, **gates).state
  if case.packed:  # of the document that goes on
    ids = cases.make(name, case).segment_ids
    state = state._replace(segment=jnp.asarray(ids[:, 0], jnp.int32))
  return state


def _both(name, form, case):
  """The form on devices, the form on one, and their arguments."""
  entry = catalogue.get(name)
  arrays, named, chosen = _given(name, form, case)
  state = _state(name, form, case)
  if state is not None:
    named["state"] = state
  spread = sequence.split(entry, form, _mesh())
  call = lambda function: jax.jit(functools.partial(function, **chosen))
  return call(spread), call(entry.forms[form]), arrays, named


@pytest.mark.parametrize("name, form, case", _rows(_VALUES))
def test_values_and_states_are_those_of_one_device(name, form, case):
  with subject.precision(case):
    spread, alone, arrays, named = _both(name, form, case)
    out, state = spread(*arrays, **named)
    expected = alone(*arrays, **named)
    bound = 2 * forward(case.dtype, case.length)
    assert_close(out, expected.out, bound)
    assert out.dtype == expected.out.dtype
    if name == "softmax":
      assert state is None
      return
    for got, want in zip(state, expected.state, strict=True):
      assert_close(got, want, bound, "state")


@pytest.mark.parametrize("name, form, case", _rows(set(QUICK) - set(_VALUES)))
def test_gradients_are_those_of_one_device(name, form, case):
  with subject.precision(case):
    spread, alone, arrays, named = _both(name, form, case)
    whole = {k: named.pop(k) for k in ("segment_ids",) if k in named}
    state = named.pop("state", None)
    weights = jnp.asarray(subject.cotangent(case), case.dtype)

    def loss(call, arrays, named, floats):
      given = {**named, **whole}
      if state is not None:
        given["state"] = state._replace(**floats)
      result = call(*arrays, **given)
      total = jnp.sum(result.out * weights)
      if name != "softmax":  # the last state counts too
        kept = result.state.values if name == "window" else result.state.S
        total += jnp.sum(jnp.sin(kept))
      return total

    floats = {
        name: getattr(state, name)
        for name in ("S", "z", "keys", "values")
        if hasattr(state, name)
    }
    gradients = [
        jax.jit(jax.grad(functools.partial(loss, call), argnums=(0, 1, 2)))(
            arrays, named, floats
        )
        for call in (spread, alone)
    ]
    bound = 2 * backward(case.dtype, case.length)
    for got, want in zip(*map(jax.tree.leaves, gradients), strict=True):
      assert_close(got, want, bound, "gradient")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_marks(name)) for name in SPLIT]
)
def test_each_device_holds_its_own_tokens_alone(name):
  case = cases.Case("long", length=512, width=8, value_width=8, dtype="float32")
  entry = catalogue.get(name)
  form = entry.featured[-1]
  arrays, named, chosen = _given(name, form, case)
  spread = sequence.split(entry, form, _mesh())
  out = jax.jit(functools.partial(spread, **chosen))(*arrays, **named).out
  assert out.sharding.spec == P(None, sequence.TOKENS)
  shapes = {shard.data.shape for shard in out.addressable_shards}
  assert shapes == {(case.batch, 64, case.heads, case.value_width)}


def test_a_state_beside_a_large_input_gate_survives_small_decays():
  case = cases.Case("extreme", length=40)
  with jax.enable_x64(True):
    arrays, gates, _ = cases.make("mlstm", case)
    gates = {name: np.asarray(x).copy() for name, x in gates.items()}
    gates["log_input"][:, 2] = 900.0  # exp overflows, in float64 too
    gates["log_decay"][:, 12] = -880.0  # and this is 0
    entry = catalogue.get("mlstm")
    spread = sequence.split(entry, "chunkwise", _mesh())
    out, state = spread(*arrays, **gates)
    expected = entry.forms["chunkwise"](*arrays, **gates)
    assert np.isfinite(out).all()
    assert_close(out, expected.out, 1e-12)
    assert_close(state.m, expected.state.m, 1e-12)
    assert_close(state.S, expected.state.S, 1e-12)


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("mamba2", "rwkv7")),
        *("gla", "kda"),
    ],
)
def test_decays_that_leave_nothing_make_no_nan(name):
  case = cases.Case("extreme", length=40, dtype="float32")
  arrays, gates, _ = cases.make(name, case)
  gates = dict(gates, log_decay=np.full_like(gates["log_decay"], -1e4))
  entry = catalogue.get(name)
  spread = sequence.split(entry, "chunkwise", _mesh())
  out, state = spread(*arrays, **gates)
  expected = entry.forms["chunkwise"](*arrays, **gates)
  assert_close(out, expected.out, forward("float32", 40))
  assert_close(state.S, expected.state.S, forward("float32", 40))


@pytest.mark.parametrize(
    "size", [*(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 64)), 12]
)
@pytest.mark.parametrize(
    "packed", [pytest.param(False, marks=pytest.mark.slow), True]
)
def test_a_window_reaches_as_many_devices_as_it_needs(size, packed):
  case = cases.Case("window", length=40, packed=packed, dtype="float32")
  arrays, _, ids = cases.make("window", case)
  entry = catalogue.get("window")
  spread = sequence.split(entry, "chunkwise", _mesh())
  alone = entry.forms["chunkwise"]
  before = alone(*[x[:, :7] for x in arrays], window=size).state
  bound = 2 * forward("float32", 40)
  for state in (None, before):
    if packed and state is not None:  # of the document that goes on
      state = state._replace(segment=jnp.asarray(ids[:, 0], jnp.int32))
    named = dict(segment_ids=ids, state=state, window=size)
    out, after = spread(*arrays, **named)
    expected = alone(*arrays, **named)
    assert_close(out, expected.out, bound)
    for got, want in zip(after, expected.state, strict=True):
      assert_close(got, want, bound, "state")


def test_levels_are_counted_for_the_tokens_of_all_devices():
  case = cases.Case("levels", length=40, dtype="float32")
  arrays, gates, _ = cases.make("loglinear", case)
  spread = sequence.split(catalogue.get("loglinear"), "chunkwise", _mesh())
  few = {**gates, "weights": gates["weights"][..., :6]}
  with pytest.raises(ValueError, match="weights: expected 7 .* 40 .* got 6"):
    spread(*arrays, **few)


def _refused(message, *arguments, **keywords):
  with pytest.raises(ValueError, match=message):
    sequence.split(*arguments, **keywords)


def test_what_cannot_be_split_is_refused_by_name():
  linear = catalogue.get("linear")
  for name in WHOLE:
    entry = catalogue.get(name)
    _refused(f"got '{name}'", entry, entry.featured[0], _mesh())
  _refused("form: expected one of", linear, "step", _mesh())
  for axis in ("b", ["tokens"]):
    _refused("axis: expected one of tokens", linear, "chunkwise", _mesh(), axis)
  _refused("form: expected one of", linear, ["chunkwise"], _mesh())
  _refused("mechanism: expected one of", "linear", "chunkwise", _mesh())
  for mesh in (None, jax.devices()):
    _refused("mesh: expected a jax.sharding.Mesh", linear, "chunkwise", mesh)


def test_a_call_that_cannot_be_split_is_refused():
  case = cases.Case("odd", length=41)
  spread = sequence.split(catalogue.get("linear"), "chunkwise", _mesh())
  arrays, _, _ = cases.make("linear", case)
  with pytest.raises(ValueError, match="a multiple of 8 tokens.* got 41"):
    spread(*arrays)
  even = [x[:, :40] for x in arrays]
  for block in (3, 4):  # one divides all 40 tokens, not those of a device
    expected = f"block: .* of the 5 tokens .* got {block}"
    with pytest.raises(ValueError, match=expected):
      spread(*even, block=block)
  ids = np.zeros((case.batch, 40), np.int32)
  for name in ("linear", "softmax"):
    entry = catalogue.get(name)
    spread = sequence.split(entry, entry.featured[-1], _mesh())
    with pytest.raises(ValueError, match="segment_ids: expected causal=True"):
      spread(*even, segment_ids=ids, causal=False)
  window = sequence.split(catalogue.get("window"), "chunkwise", _mesh())
  with pytest.raises(ValueError, match="causal: .* with a split window"):
    window(*even, causal=False)
  with pytest.raises(ValueError, match="window"):
    window(*even, window=0)
  with pytest.raises(ValueError, match="state: expected none"):
    spread(*even, state=entry.init(2, 2, 6, 5, capacity=40))


def test_blocks_that_see_ahead_may_be_within_devices():
  case = cases.Case("block", length=80, dtype="float32")
  arrays, _, _ = cases.make("linear", case)
  entry = catalogue.get("linear")
  spread = sequence.split(entry, "chunkwise", _mesh())
  out = spread(*arrays, block=5).out
  expected = entry.forms["chunkwise"](*arrays, block=5).out
  assert_close(out, expected, forward("float32", 80))


@pytest.mark.parametrize(
    "name", ["mamba2", pytest.param("loglinear", marks=pytest.mark.slow)]
)
def test_every_device_has_the_decays_that_all_tokens_share(name):
  case = cases.Case("decays", length=40, dtype="float32")
  arrays, gates, _ = cases.make(name, case)
  gates = {**gates, "log_decay": jnp.array([-0.1, -0.4])}
  entry = catalogue.get(name)
  spread = sequence.split(entry, "chunkwise", _mesh())
  out, state = spread(*arrays, **gates)
  expected = entry.forms["chunkwise"](*arrays, **gates)
  assert_close(out, expected.out, forward("float32", 40))
  assert_close(state.S, expected.state.S, forward("float32", 40))


def test_a_plain_function_may_be_the_feature_map():
  case = cases.Case("map", length=40, dtype="float32")
  arrays, _, _ = cases.make("linear", case)
  entry = catalogue.get("linear")
  spread = sequence.split(entry, "chunkwise", _mesh())
  out = spread(*arrays, feature_map=jnp.exp).out
  expected = entry.forms["chunkwise"](*arrays, feature_map=jnp.exp).out
  assert_close(out, expected, forward("float32", 40))


def test_a_split_form_says_what_it_is():
  entry = catalogue.get("linear")
  spread = sequence.split(entry, "chunkwise", _mesh())
  assert inspect.getdoc(spread) == inspect.getdoc(entry.forms["chunkwise"])
