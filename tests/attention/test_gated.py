"""Gates: what they may be, and what happens at their ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.attention import features
from lalm.attention import gated
from lalm.attention import linear
from lalm.attention import triangular
from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import backward
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close

pytestmark = pytest.mark.usefixtures("quickly_compiled")

GATED = [name for name in catalogue.names() if catalogue.get(name).gates]
DECAYING = [n for n in GATED if "log_decay" in catalogue.get(n).gates]
CASE = cases.Case(
    "gates", length=70, batch=1, heads=2, width=8, chunk=32, dtype="float32"
)


def _extreme(shape, kind):
  generator = np.random.default_rng(8)
  if kind == "mixed":
    values = np.array([0.0, -100.0, -0.01, -3.0])
    return values[generator.integers(0, 4, shape)]
  return np.full(shape, float(kind))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(
            name,
            kind,
            marks=() if (name, kind) == ("kda", "mixed") else pytest.mark.slow,
        )
        for name in DECAYING
        for kind in ("0", "-100", "mixed")
    ],
)
def test_extreme_decays_are_exact_and_their_gradients_too(name, kind):
  arrays, gates, _ = cases.make(name, CASE)
  decay = _extreme(gates["log_decay"].shape, kind).astype(np.float32)
  gates = {**gates, "log_decay": decay}
  weights = subject.cotangent(CASE)

  def results(form, case, dtype):
    place = jax.tree.map(lambda x: np.asarray(x, dtype), (arrays, gates))

    def loss(place):
      out, _ = subject.apply(name, form, case, (*place, None))
      return jnp.sum(out * weights.astype(dtype)), out

    (_, out), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(place)
    return out, gradient

  out, gradient = results("chunkwise", CASE, np.float32)
  expected = subject.oracle(name, CASE, (arrays, gates, None))
  assert_close(out, expected, forward("float32", CASE.length))
  wide = subject.widened(CASE)
  with jax.enable_x64(True):
    _, exact = results(subject.definition(name), wide, np.float64)
  for mine, theirs in zip(
      jax.tree.leaves(gradient), jax.tree.leaves(exact), strict=True
  ):
    if np.max(np.abs(theirs)) < 1e-40:  # below what float32 can hold
      np.testing.assert_array_less(np.abs(mine), 1e-37)
    else:
      assert_close(mine, theirs, backward("float32", CASE.length))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n == "mamba2" else pytest.mark.slow)
        for n in ("mamba2", "mlstm", "gla", "kda")
    ],
)
def test_a_closed_gate_forgets_all(name):
  arrays, gates, _ = cases.make(name, CASE)
  decay = np.array(gates["log_decay"])
  decay[:, 40] = -np.inf
  mechanism = catalogue.get(name)
  for form in ("recurrent", "chunkwise"):

    def loss(place):
      arrays, gates = place
      out = mechanism.forms[form](*arrays, **gates).out
      return jnp.sum(out[:, 40:]), out

    place = (arrays, {**gates, "log_decay": decay})
    run = jax.jit(jax.value_and_grad(loss, has_aux=True))
    (_, out), (of_arrays, _) = run(place)
    expected = subject.oracle(name, CASE, (*place, None))
    assert_close(out, expected, forward("float32", CASE.length))
    for leaf in of_arrays:
      np.testing.assert_array_equal(leaf[:, :40], 0)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            n, marks=() if n in ("gla", "deltanet") else pytest.mark.slow
        )
        for n in ("mamba2", "mlstm", "gla", "deltanet")
    ],
)
def test_what_overflows_later_leaves_earlier_outputs_alone(name):
  (q, k, v), gates, _ = cases.make(name, CASE)
  q, k = 1e20 * q, np.array(k)
  k[:, -1] *= 1e20
  call = catalogue.get(name).forms["chunkwise"]
  out = call(q, k, v, **gates).out
  assert np.all(np.isfinite(out[:, :-1]))


@pytest.mark.parametrize("chunk", (4, pytest.param(16, marks=pytest.mark.slow)))
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            n,
            marks=()
            if n in ("gla", "mlstm", "loglinear")
            else pytest.mark.slow,
        )
        for n in (
            *("linear", "gla", "mlstm", "rwkv7", "loglinear"),
            *("mamba2", "rwkv6", "deltaproduct", "kda"),
        )
    ],
)
def test_a_state_that_has_overflowed_is_not_read_by_another_document(
    name, chunk
):
  mechanism = catalogue.get(name)
  form = mechanism.forms["chunkwise"]
  # How many tokens go on with the document that has overflowed. Where these
  # write what depends on what they read, or are normalised, they spoil others.
  mixed = "rank" in mechanism.transition or name == "mlstm"
  held = 0 if mixed else 3
  given, gates = mechanism.inputs(jax.random.key(3), length=11, value_width=5)
  state = jax.tree.map(
      lambda x: jnp.full_like(x, 7 if x.dtype == jnp.int32 else jnp.inf),
      mechanism.init(1, 2, 16, 5, capacity=16),
  )
  if name == "mlstm":
    state = state._replace(m=jnp.zeros_like(state.m))
  after = lambda x: x[:, held:] if x.ndim > 2 else x
  alone = form(*map(after, given), **jax.tree.map(after, gates), chunk=chunk)

  def run(given, gates):
    ids = jnp.asarray([[7] * held + [8] * (11 - held)])
    out, new = form(*given, **gates, segment_ids=ids, state=state, chunk=chunk)
    return jnp.sum(jnp.sin(out[:, held:])), (out, new)

  run = jax.jit(jax.grad(run, (0, 1), has_aux=True))
  grads, (out, new) = run(given, gates)
  np.testing.assert_allclose(out[:, held:], alone.out, 1e-4, 1e-5)
  np.testing.assert_allclose(new.S, alone.state.S, 1e-4, 1e-5)
  for grad in jax.tree.leaves(grads):
    assert np.all(np.isfinite(after(grad)))


@pytest.mark.parametrize("dtype", ("float32", "bfloat16", "float16"))
def test_unit_vectors_are_finite_up_to_the_largest_number(dtype):
  most = float(jnp.finfo(dtype).max)
  for x in ([most, 0.0], [most, -most], [most / 4, 0.0]):
    got = np.asarray(features.unit(jnp.asarray(x, dtype)), np.float64)
    exact = np.sign(x) / np.linalg.norm(np.sign(x))
    np.testing.assert_allclose(got, exact, atol=0.01)


@pytest.mark.parametrize("bad", (np.nan, np.inf))
def test_what_is_not_finite_has_no_direction(bad):
  assert np.all(np.isnan(features.unit(jnp.asarray([bad, 1.0]))[:1]))


@pytest.mark.parametrize("size", (1e-30, 1e-14, 1.0, 1e30))
def test_unit_vectors_are_of_length_one_at_any_scale(size):
  x = np.float32(size) * np.float32([3.0, 4.0, 0.0])
  np.testing.assert_allclose(features.unit(x), [0.6, 0.8, 0.0], 1e-6)
  got = jax.jacobian(features.unit)(jnp.asarray(x))
  exact = (np.eye(3) - np.outer([0.6, 0.8, 0], [0.6, 0.8, 0])) / (5 * size)
  np.testing.assert_allclose(got, exact, 1e-5, 1e-6 / size)


def test_what_a_family_cannot_take_is_named():
  (q, k, v), gates = catalogue.get("kda").inputs(jax.random.key(0), length=4)
  decay, beta = gates["log_decay"], gates["beta"]
  wide = catalogue.get("kda").forms["chunkwise"]
  for call, words in (
      (lambda: gated.chunkwise(q, k, v, log_decay=None), "log_decay"),
      (
          lambda: wide(
              q, k, v, beta=beta, log_decay=decay, feature_map=features.dpfp()
          ),
          "log_decay",
      ),
      (
          lambda: catalogue.get("hgrn2").forms["step"](
              q, k, v, log_decay=decay
          ),
          "log_decay",
      ),
      (
          lambda: linear.parallel(
              q, k, v, feature_map=features.hedgehog(jnp.eye(3))
          ),
          "feature_map",
      ),
      (
          lambda: gated.recurrent(
              q, k, v, log_decay=decay, state=gated.State(None, None)
          ),
          "state.S",
      ),
  ):
    with pytest.raises(ValueError, match=f"{words}: expected .* got"):
      call()


@pytest.mark.parametrize(
    ("name", "form"),
    [
        (name, form)
        for name in GATED
        for form in catalogue.get(name).forms
        if form != "step"
    ],
)
def test_a_gate_of_another_shape_is_named(name, form):
  mechanism = catalogue.get(name)
  arrays, gates = mechanism.inputs(jax.random.key(0), length=6)
  for gate, x in gates.items():
    for wrong in (x[..., None], x[..., :0], np.float32(0.5), [0.1]):
      with pytest.raises(ValueError, match=f"{gate}: expected .* got"):
        mechanism.forms[form](*arrays, **{**gates, gate: wrong})
    if mechanism.gates[gate].whole:
      continue
    whole = jnp.zeros(x.shape, jnp.int32)
    with pytest.raises(ValueError, match=f"{gate}: expected a floating dtype"):
      mechanism.forms[form](*arrays, **{**gates, gate: whole})


@pytest.mark.parametrize(
    "name", [n for n in catalogue.names() if not catalogue.get(n).full]
)
@pytest.mark.parametrize("form", ("recurrent", "chunkwise"))
def test_a_full_form_that_cannot_be_is_refused(name, form):
  mechanism = catalogue.get(name)
  arrays, gates = mechanism.inputs(jax.random.key(0), length=6)
  with pytest.raises(ValueError, match="causal: expected True"):
    mechanism.forms[form](*arrays, causal=False, **gates)


@pytest.mark.parametrize("size", (1, 2, 3, 8, 13, 32))
def test_the_inverse_is_the_inverse_where_all_rows_are_equal(size):
  """N is all ones below the diagonal: the inverse is bidiagonal."""
  N = np.tril(np.ones((1, size, size), np.float32), -1)
  expected = np.eye(size) - np.eye(size, k=-1)
  got = triangular.inverse(N, jax.lax.Precision.HIGHEST)[0]
  np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    "size", (pytest.param(1, marks=pytest.mark.slow), 5, 32)
)
def test_an_inverse_is_the_inverse_and_so_are_its_derivatives(size):
  generator = np.random.default_rng(3)
  with jax.enable_x64(True):
    N = np.tril(generator.standard_normal((2, size, size)), -1) / size
    dense = lambda N: jnp.linalg.inv(jnp.eye(size) + jnp.tril(N, -1))
    ours = lambda N: triangular.inverse(N, jax.lax.Precision.HIGHEST)
    along = np.tril(generator.random(N.shape), -1)
    for function in (
        lambda f: jax.jvp(f, (N,), (along,)),
        lambda f: jax.jvp(lambda N: jax.jvp(f, (N,), (along,)), (N,), (along,)),
        lambda f: jnp.tril(jax.grad(lambda N: jnp.sum(jnp.sin(f(N))))(N), -1),
    ):
      for a, e in zip(
          jax.tree.leaves(function(ours)), jax.tree.leaves(function(dense))
      ):
        np.testing.assert_allclose(a, e, 1e-9, 1e-9)
