"""The neutral value of a gate gives the simpler mechanism."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.attention import delta
from lalm.attention import dplr
from lalm.attention import features
from lalm.attention import gated
from lalm.attention import hierarchical
from lalm.attention import linear
from lalm.attention import mlstm
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close

pytestmark = pytest.mark.usefixtures("quickly_compiled")

LENGTH = 45
FORMS = ("recurrent", "chunkwise", "step")


def _inputs(name):
  return catalogue.get(name).inputs(
      jax.random.key(3), batch=2, length=LENGTH, heads=2, width=8, value_width=5
  )


def _run(module, form, arrays, **named):
  """All tokens; `step` from the state that `chunkwise` leaves before it."""
  if form != "step":
    return getattr(module, form)(*arrays, **named).out
  cut = lambda part: jax.tree.map(
      lambda x: part(x) if getattr(x, "ndim", 0) > 2 else x, (arrays, named)
  )
  before, gates = cut(lambda x: x[:, :-1])
  state = module.chunkwise(*before, **gates).state
  last, gates = cut(lambda x: x[:, -1:])
  return module.step(*last, state=state, **gates).out


def _equal(a, b):
  assert_close(a, b, forward("float32", LENGTH))


@pytest.mark.parametrize(
    ("layout", "form"),
    [
        pytest.param(
            layout,
            form,
            marks=()
            if form == "chunkwise" or layout == "BTGK"
            else pytest.mark.slow,
        )
        for layout in ("G", "BTG", "BTGK")
        for form in FORMS
    ],
)
def test_without_decay_gated_attention_is_linear(form, layout):
  arrays, gates = _inputs("gla")
  shape = {"G": (2,), "BTG": (2, LENGTH, 2), "BTGK": gates["log_decay"].shape}
  got = _run(gated, form, arrays, log_decay=jnp.zeros(shape[layout]))
  plain = dict(feature_map=features.identity, normalize=False)
  _equal(got, _run(linear, form, arrays, **plain))


@pytest.mark.parametrize("form", FORMS)
def test_with_equal_weights_of_levels_attention_is_of_a_scalar_decay(form):
  arrays, gates = _inputs("loglinear")
  gates["weights"] = jnp.ones_like(gates["weights"])
  scalar = dict(log_decay=gates["log_decay"])
  got = _run(hierarchical, form, arrays, **gates)
  _equal(got, _run(gated, form, arrays, **scalar))
  del gates["log_decay"]
  still = dict(log_decay=jnp.zeros_like(scalar["log_decay"]))
  got = _run(hierarchical, form, arrays, **gates)
  _equal(got, _run(gated, form, arrays, **still))


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(f, marks=() if f == "chunkwise" else pytest.mark.slow)
        for f in FORMS
    ],
)
def test_a_decay_equal_for_all_features_is_a_scalar_decay(form):
  arrays, gates = _inputs("mamba2")
  scalar = gates["log_decay"]
  vector = jnp.broadcast_to(scalar[..., None], arrays[1].shape)
  _equal(
      _run(gated, form, arrays, log_decay=vector),
      _run(gated, form, arrays, log_decay=scalar),
  )
  beta = jax.nn.sigmoid(scalar)
  _equal(
      _run(delta, form, arrays, beta=beta, log_decay=vector),
      _run(delta, form, arrays, beta=beta, log_decay=scalar),
  )
  # Where the state is read before it decays.
  arrays, gates = _inputs("rwkv7")
  for module, others in (
      (gated, dict(bonus=jnp.full((2, 8), 0.3))),
      (dplr, dict(removal=gates["removal"], rate=gates["rate"])),
  ):
    _equal(
        _run(module, form, arrays, log_decay=vector, **others),
        _run(module, form, arrays, log_decay=scalar, **others),
    )


@pytest.mark.parametrize("form", FORMS)
def test_without_decay_the_gated_delta_rule_is_the_delta_rule(form):
  arrays, gates = _inputs("deltanet")
  plain = _run(delta, form, arrays, **gates)
  for layout in (arrays[1].shape[:3], arrays[1].shape):
    still = _run(delta, form, arrays, log_decay=jnp.zeros(layout), **gates)
    _equal(still, plain)


@pytest.mark.parametrize(
    "form, decay, write",
    [
        pytest.param(
            form,
            decay,
            write,
            marks=()
            if (form == "chunkwise" and decay != "scalar")
            or (form, decay, write) == ("step", "", 0)
            else pytest.mark.slow,
        )
        for form in FORMS
        for decay in ("", "scalar", "vector")
        for write in (0, 1)
    ],
)
def test_one_write_of_several_is_the_delta_rule(form, decay, write):
  (q, k, v), gates = _inputs("deltaproduct")
  beta = gates["beta"].at[:, :, 1 - write].set(0)
  named = {}
  if decay:
    widths = (8,) if decay == "vector" else ()
    shape = (*q.shape[:3], *widths)
    uniform = jax.random.uniform(jax.random.key(4), shape)
    named["log_decay"] = -uniform
  got = _run(delta, form, (q, k, v), beta=beta, **named)
  k, v, beta = (x[:, :, write] for x in (k, v, beta))
  _equal(got, _run(delta, form, (q, k, v), beta=beta, **named))


@pytest.mark.parametrize("form", FORMS)
def test_a_rate_of_zero_removes_nothing(form):
  arrays, gates = _inputs("rwkv7")
  kept = _run(dplr, form, arrays, **{**gates, "rate": 0 * gates["rate"]})
  _equal(kept, _run(gated, form, arrays, log_decay=gates["log_decay"]))


@pytest.mark.parametrize("form", FORMS)
def test_removing_what_is_written_is_the_delta_rule(form):
  arrays, gates = _inputs("gated_deltanet")
  q, k, v = (features.unit(arrays[0]), features.unit(arrays[1]), arrays[2])
  beta, log_decay = gates["beta"][..., None], gates["log_decay"]
  # (a - beta k k^T a) S + beta k v^T.
  got = _run(
      dplr,
      form,
      (q, beta * k, v),
      log_decay=log_decay,
      removal=k,
      rate=jnp.broadcast_to(beta * jnp.exp(log_decay)[..., None], k.shape),
  )
  _equal(got, _run(delta, form, arrays, **gates))


@pytest.mark.parametrize("form", FORMS)
def test_a_bonus_of_one_reads_the_state_with_the_token_in_it(form):
  arrays, gates = _inputs("rwkv6")
  still = jnp.zeros_like(gates["log_decay"])
  got = _run(gated, form, arrays, log_decay=still, bonus=jnp.ones((2, 8)))
  _equal(got, _run(gated, form, arrays, log_decay=still))


@pytest.mark.parametrize("form", FORMS)
def test_a_small_mlstm_is_gated_attention_over_its_floor(form):
  (q, k, v), gates = _inputs("mlstm")
  small = 1e-3 * q
  got = _run(
      mlstm,
      form,
      (small, k, v),
      log_decay=gates["log_decay"],
      log_input=jnp.zeros_like(gates["log_input"]),
  )
  expected = _run(gated, form, (small, k, v), log_decay=gates["log_decay"])
  assert np.max(np.abs(expected)) > 0
  _equal(got, expected)


@pytest.mark.parametrize("form", ("recurrent", "chunkwise", "step"))
def test_named_members_are_their_families_with_fixed_gates(form):
  arrays, _ = _inputs("retnet")
  q, k, v = arrays
  decays = {
      "retnet": np.log(1 - 2.0 ** (-5 - np.arange(2))),
      "lightning": -(2.0 ** (-8 * np.arange(1, 3) / 2)),
  }
  for name, decay in decays.items():
    member = catalogue.get(name)
    got = _run(_Forms(member), form, arrays)
    _equal(got, _run(gated, form, arrays, log_decay=jnp.float32(decay)))
  got = _run(_Forms(catalogue.get("hgrn2")), form, arrays)
  tied = dict(log_decay=jax.nn.log_sigmoid(k))
  _equal(got, _run(gated, form, (q, 1 - jax.nn.sigmoid(k), v), **tied))


class _Forms:
  """A member's forms as attributes, like a module's."""

  def __init__(self, mechanism):
    self.__dict__.update(mechanism.forms)
