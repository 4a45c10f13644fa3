"""Linear attention: its feature maps, neutral cases and zero normalisers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.attention import features
from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import forward
from tests.oracles import features as oracles
from tests.oracles import linear as oracle
from tests.oracles.compare import assert_close

FORMS = ("parallel", "recurrent", "chunkwise", "step")
# Every form, causal and, where it can, full.
CALLS = [(form, True) for form in FORMS] + [(form, False) for form in FORMS[:3]]
EVERY = pytest.mark.parametrize(
    ("form", "causal"),
    CALLS,
    ids=[f"{form}-{'causal' if causal else 'full'}" for form, causal in CALLS],
)
# With identity features a normaliser of either sign may come near zero.
MAPS = [
    (name, normalize)
    for name in oracles.MAPS
    for normalize in (True, False)
    if not (name == "identity" and normalize)
]


def _case(causal=True, **changes):
  return cases.Case(
      "linear", length=27, heads=4, kv_heads=2, causal=causal, **changes
  )


def _apply(form, case, inputs, **extra):
  run = subject.jit(
      lambda inputs: subject.apply("linear", form, case, inputs, **extra), case
  )
  return run(tuple(inputs))


@EVERY
@pytest.mark.parametrize(
    ("name", "normalize"),
    [
        pytest.param(
            *pair,
            marks=() if pair[1] or pair[0] == "identity" else pytest.mark.slow,
        )
        for pair in MAPS
    ],
    ids=[f"{name}-{'normalised' if n else 'unnormalised'}" for name, n in MAPS],
)
def test_every_feature_map_equals_the_oracle(form, causal, name, normalize):
  case = _case(causal, scale=0.4)
  with subject.precision(case):
    inputs = cases.make("linear", case)
    out, _ = _apply(
      form, case, inputs, feature_map=getattr(features, name),
      normalize=normalize,
    )  # fmt: skip
  expected = subject.oracle(
      "linear",
      case,
      inputs,
      feature_map=oracles.MAPS[name],
      normalize=normalize,
  )
  assert_close(out, expected, forward(case.dtype, case.length))


@EVERY
def test_identity_features_unnormalised_are_a_masked_product(form, causal):
  case = cases.Case("product", length=27, causal=causal)
  with subject.precision(case):
    inputs = cases.make("linear", case)
    out, _ = _apply(
        form, case, inputs, feature_map=features.identity, normalize=False
    )
  q, k, v = inputs.arrays
  scores = np.einsum("bthk,bshk->bhts", q, k)
  scores = np.tril(scores) if causal else scores
  expected = np.einsum("bhts,bshv->bthv", scores, v)
  assert_close(out, expected, forward(case.dtype, case.length))


@EVERY
def test_scale_cancels_under_normalisation(form, causal):
  plain, scaled = _case(causal), _case(causal, scale=0.125)
  _, out, _ = subject.values("linear", form, plain)
  _, other, _ = subject.values("linear", form, scaled)
  assert_close(other, out, forward("float64", plain.length))


@EVERY
def test_scale_multiplies_the_unnormalised_output(form, causal):
  case, scaled = _case(causal), _case(causal, scale=0.125)
  with subject.precision(case):
    inputs = cases.make("linear", case)
    out, _ = _apply(form, case, inputs, normalize=False)
    other, _ = _apply(form, scaled, inputs, normalize=False)
  assert_close(other, 0.125 * np.asarray(out), forward("float64", case.length))


@pytest.mark.parametrize(
    ("form", "causal", "name"),
    [
        pytest.param(
            form,
            causal,
            name,
            marks=()
            if form == "chunkwise" or (causal and name == "relu")
            else pytest.mark.slow,
        )
        for form, causal, name in (
            *((*call, "relu") for call in CALLS),
            *((form, True, "elu_plus_one") for form in FORMS),
        )
    ],
)
def test_a_zero_normaliser_gives_exactly_zero_and_no_gradient(
    form, causal, name
):
  """Queries 5 to 9 have no features in common with any key."""
  case = cases.Case("zero", length=27, causal=causal, dtype="float32", chunk=8)
  inputs = cases.make("linear", case)
  q, k, v = (np.array(x) for x in inputs.arrays)
  q[:, 5:10] = -1e4
  phi = getattr(features, name)
  out, _ = _apply(form, case, ((q, k, v), {}, None), feature_map=phi)
  np.testing.assert_array_equal(np.asarray(out)[:, 5:10], 0)
  assert np.any(np.asarray(out)[:, 10:])

  def loss(q, k, v, rows):
    out, _ = subject.apply(
        "linear", form, case, ((q, k, v), {}, None), feature_map=phi
    )
    return jnp.sum(jnp.cos(out) * rows)

  gradient = subject.jit(jax.grad(loss, argnums=(0, 1, 2)), case)
  rows = np.zeros((case.length, 1, 1), np.float32)
  everything = gradient(q, k, v, rows + 1)
  for leaf in everything:
    assert np.all(np.isfinite(leaf))
  np.testing.assert_array_equal(np.asarray(everything[0])[:, 5:10], 0)
  rows[5:10] = 1
  for leaf in gradient(q, k, v, rows):
    np.testing.assert_array_equal(leaf, 0)


@EVERY
@pytest.mark.parametrize(
    "normalize", (True, pytest.param(False, marks=pytest.mark.slow))
)
def test_a_given_state_goes_on_from_its_sums(form, causal, normalize):
  case = _case(causal)
  generator = np.random.default_rng(5)
  with subject.precision(case):
    inputs = cases.make("linear", case)
    state = subject.blank("linear", case)
    S0 = generator.standard_normal(state.S.shape)
    z0 = generator.uniform(1, 2, state.z.shape)
    state = state._replace(S=jnp.asarray(S0), z=jnp.asarray(z0))
    function = catalogue.get("linear").forms[form]
    chosen = {**subject.options("linear", form, case), "normalize": normalize}
    run = subject.jit(
        lambda inputs, state: subject.call(
            function, form, inputs, state, chosen
        ),
        case,
    )
    out, after = run(tuple(inputs), state)
  expected = oracle.scan(
    *inputs.arrays, causal=causal, normalize=normalize,
    state=oracle.State(S0, z0),
  )  # fmt: skip
  bound = forward(case.dtype, case.length)
  assert_close(out, expected.out, bound)
  assert_close(after.S, expected.state.S, bound, "S")
  if normalize:
    assert_close(after.z, expected.state.z, bound, "z")


def _project(weights, x):
  return jax.nn.relu(x @ weights) + 0.1


@EVERY
def test_the_arrays_of_a_feature_map_are_differentiated(form, causal):
  case = _case(causal)
  generator = np.random.default_rng(6)
  weights = generator.standard_normal((case.width, 9))
  along = generator.standard_normal(weights.shape)

  def exact(weights):
    return subject.oracle(
      "linear", case, inputs,
      feature_map=lambda x: np.maximum(x @ weights, 0) + 0.1,
    )  # fmt: skip

  with subject.precision(case):
    inputs = cases.make("linear", case)
    blank = catalogue.get("linear").init(
      case.batch, case.kv_heads, 9, case.value_width,
      capacity=case.length, dtype=case.dtype,
    )  # fmt: skip
    function = catalogue.get("linear").forms[form]
    chosen = subject.options("linear", form, case)

    def out(weights):
      phi = jax.tree_util.Partial(_project, weights)
      named = {**chosen, "feature_map": phi}
      return subject.call(function, form, tuple(inputs), blank, named)[0]

    run = subject.jit(lambda w, d: jax.jvp(out, (w,), (d,)), case)
    value, tangent = run(weights, along)
  assert_close(value, exact(weights), forward(case.dtype, case.length))
  step = 1e-6
  expected = (exact(weights + step * along) - exact(weights - step * along)) / (
      2 * step
  )
  assert_close(tangent, expected, 1e-8)


@pytest.mark.parametrize("form", FORMS[:3])
def test_new_weights_of_a_feature_map_compile_nothing(form):
  case = _case(dtype="float32")
  inputs = cases.make("linear", case)
  function = catalogue.get("linear").forms[form]
  count = 0

  def project(weights, x):
    nonlocal count
    count += 1
    return jax.nn.relu(x @ weights)

  for seed in range(2):
    weights = np.random.default_rng(seed).standard_normal((case.width, 9))
    phi = jax.tree_util.Partial(project, jnp.asarray(weights, jnp.float32))
    function(*inputs.arrays, feature_map=phi)
    if seed == 0:
      traced = count
  assert 0 < traced == count


@functools.cache
def _bfloat16_sums(form):
  case = cases.Case("sums", length=2000, batch=1, chunk=None, dtype="bfloat16")
  inputs = cases.make("linear", case)
  return inputs, _apply(form, case, inputs)[1]


@pytest.mark.parametrize("form", FORMS[1:])
def test_sums_of_bfloat16_are_held_in_float32(form):
  inputs, state = _bfloat16_sums(form)
  assert state.S.dtype == state.z.dtype == jnp.float32
  arrays = [np.asarray(x, np.float64) for x in inputs.arrays]
  expected = oracle.scan(*arrays).state
  # Features may be rounded one by one, but their sum must not be.
  assert_close(state.z, expected.z, 2.0**-9, "z")
  assert_close(state.S, expected.S, 2.0**-8, "S")
