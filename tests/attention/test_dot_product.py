"""`dot_product_attention` is that of `jax.nn`, argument by argument.

The two differ on one kind of row only: where a query sees no key at all,
`jax.nn` averages every value, and this library gives exactly zero.
"""

import inspect
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import dot_product_attention
from tests.attention import subject
from tests.attention.bounds import backward
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close

BATCH, QUERIES, KEYS, HEADS, WIDTH = 2, 19, 19, 4, 6


def _arrays(queries=QUERIES, keys=KEYS, kv_heads=HEADS, dtype=np.float32):
  generator = np.random.default_rng(0)
  q = generator.standard_normal((BATCH, queries, HEADS, WIDTH))
  k, v = generator.standard_normal((2, BATCH, keys, kv_heads, WIDTH))
  return tuple(jnp.asarray(x, dtype) for x in (q, k, v))


def _random(*shape, seed=1):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _mask(*shape, seed=2):
  """A random mask in which every query sees key 0 and its own."""
  mask = np.random.default_rng(seed).random(shape) < 0.6
  mask[..., 0] = True
  return mask | np.eye(*shape[-2:], dtype=bool)


# For each argument its values; the first leaves the argument out.
ARGUMENTS = {
    "bias": (
        None,
        _random(BATCH, HEADS, QUERIES, KEYS),
        _random(1, 1, QUERIES, KEYS),
        _random(BATCH, HEADS, 1, KEYS),
    ),
    "mask": (
        None,
        _mask(BATCH, HEADS, QUERIES, KEYS),
        _mask(1, 1, QUERIES, KEYS),
        _mask(BATCH, 1, QUERIES, KEYS),
    ),
    "scale": (None, 0.3),
    "is_causal": (False, True),
    "query_seq_lengths": (None, np.array([19, 11], np.int32)),
    "key_value_seq_lengths": (None, np.array([7, 19], np.int32)),
    "local_window_size": (None, 4, (5, 0), (3, 2), (30, 1)),
    "implementation": (None, "xla"),
}


def _uncovered(row, seen):
  """Pairs of (argument, value) of a call that no earlier call has tried."""
  chosen = [(name, row[name]) for name in sorted(row)]
  return {pair for pair in itertools.combinations(chosen, 2)} - seen


def _pairwise(seed=0, tries=40):
  """Calls that together try every pair of values of every two arguments.

  Greedy: each call is the best of some random ones. Values are numbered, 0
  leaves the argument out.
  """
  generator = np.random.default_rng(seed)
  levels = {name: len(values) for name, values in ARGUMENTS.items()}
  total = sum(
      levels[one] * levels[two]
      for one, two in itertools.combinations(levels, 2)
  )
  seen: set = set()
  while len(seen) < total:
    rows = [
        {name: int(generator.integers(count)) for name, count in levels.items()}
        for _ in range(tries)
    ]
    best = max(rows, key=lambda row: len(_uncovered(row, seen)))
    seen |= _uncovered(best, seen)
    yield {
        name: ARGUMENTS[name][number] for name, number in best.items() if number
    }


def _singles():
  yield {}
  for name, values in ARGUMENTS.items():
    for value in values[1:]:
      yield {name: value}


PAIRWISE = list(_pairwise())


def _name(chosen):
  def short(value):
    return value.shape if isinstance(value, np.ndarray) else value

  return ", ".join(f"{k}={short(v)}" for k, v in chosen.items()) or "nothing"


def _sees(chosen, queries, keys):
  """`[B, N, T, S]`: what a query may see, from the words of the docstring."""
  t, s = np.arange(queries)[:, None], np.arange(keys)
  seen = np.ones((BATCH, HEADS, queries, keys), bool)
  if chosen.get("mask") is not None:
    seen = seen & chosen["mask"]
  if chosen.get("is_causal"):
    seen = seen & (s <= t)
  if chosen.get("key_value_seq_lengths") is not None:
    seen &= s < np.asarray(chosen["key_value_seq_lengths"])[:, None, None, None]
  if chosen.get("local_window_size") is not None:
    window = chosen["local_window_size"]
    left, right = window if isinstance(window, tuple) else (window, window)
    seen = seen & (s >= t - left) & (s <= t + right)
  return seen


def _both(arrays, chosen):
  """What this library and `jax.nn` give, compiled as one."""
  quick = jax.jit(
      lambda arrays: (
          dot_product_attention(*arrays, **chosen),
          jax.nn.dot_product_attention(*arrays, **chosen),
      ),
      compiler_options=subject.QUICK,
  )
  return jax.tree.map(np.array, quick(arrays))


def _check(arrays, chosen):
  queries, keys = arrays[0].shape[1], arrays[1].shape[1]
  got, expected = _both(arrays, chosen)
  blind = ~_sees(chosen, queries, keys).any(-1).transpose(0, 2, 1)
  expected[blind] = 0
  assert got.dtype == expected.dtype
  assert_close(got, expected, forward(str(got.dtype), keys))


def test_the_arguments_are_those_of_jax_nn():
  ours = inspect.signature(dot_product_attention).parameters
  theirs = inspect.signature(jax.nn.dot_product_attention).parameters
  for name, parameter in theirs.items():
    assert name in ours, name
    assert ours[name].kind == parameter.kind, name
    assert ours[name].default == parameter.default, name
  untried = set(theirs) - set(ARGUMENTS) - {"query", "key", "value"}
  assert untried <= {"return_residual"}


@pytest.mark.parametrize("chosen", list(_singles()), ids=_name)
def test_each_argument_is_that_of_jax_nn(chosen):
  _check(_arrays(), chosen)


@pytest.mark.parametrize("kv_heads", (2, 1))
def test_grouped_heads_are_those_of_jax_nn(kv_heads):
  for chosen in ({}, {"bias": ARGUMENTS["bias"][1], "is_causal": True}):
    _check(_arrays(kv_heads=kv_heads), chosen)


@pytest.mark.parametrize("number", range(len(PAIRWISE)))
def test_every_pair_of_arguments_is_that_of_jax_nn(number):
  _check(_arrays(kv_heads=2), PAIRWISE[number])


@pytest.mark.parametrize(
    ("causal", "queries"),
    [
        pytest.param(
            causal,
            queries,
            marks=()
            if (causal, queries) in ((False, 1), (True, 33))
            else pytest.mark.slow,
        )
        for causal in (False, True)
        for queries in (1, 8, 33)
    ],
)
def test_other_numbers_of_queries_are_those_of_jax_nn(queries, causal):
  for window in (None, (4, 3)):
    chosen = {"is_causal": causal, "local_window_size": window}
    _check(_arrays(queries=queries), chosen)


@pytest.mark.parametrize(
    "chosen",
    (
        {},
        {"is_causal": True},
        {"scale": 2.0},
        {"local_window_size": 3},
        {"bias": _random(HEADS, QUERIES, KEYS)},
        {"mask": _mask(HEADS, QUERIES, KEYS)},
        {"mask": _mask(QUERIES, KEYS)},
        {"query_seq_lengths": np.array([4], np.int32)},
        {"key_value_seq_lengths": np.array([4], np.int32)},
    ),
    ids=_name,
)
def test_arrays_without_a_batch_are_those_of_jax_nn(chosen):
  q, k, v = (x[0] for x in _arrays(kv_heads=2))
  got, expected = _both((q, k, v), chosen)
  assert got.shape == expected.shape == q.shape
  assert_close(got, expected, forward("float32", KEYS))


@pytest.mark.parametrize("dtype", (jnp.bfloat16, jnp.float16, jnp.float32))
def test_dtypes_are_those_of_jax_nn(dtype):
  arrays = _arrays(dtype=dtype)
  got = dot_product_attention(*arrays, is_causal=True)
  expected = jax.nn.dot_product_attention(*arrays, is_causal=True)
  assert got.dtype == expected.dtype == dtype
  name = jnp.dtype(dtype).name
  # Both are off the truth, each by the bound.
  assert_close(got, expected, 2 * forward(name, KEYS))


@pytest.mark.parametrize(
    "chosen",
    (
        {},
        {"is_causal": True},
        {"mask": _mask(1, 1, QUERIES, KEYS)},
        {"is_causal": True, "local_window_size": 4},
        {"key_value_seq_lengths": np.array([7, 19], np.int32)},
    ),
    ids=_name,
)
def test_the_residual_is_the_logsumexp_of_jax_nn(chosen):
  arrays = _arrays(kv_heads=2)
  ours, theirs = _both(arrays, {"return_residual": True, **chosen})
  (out, residual), (expected, theirs) = ours, theirs
  assert residual.shape == theirs.shape and residual.dtype == theirs.dtype
  assert_close(out, expected, forward("float32", KEYS))
  assert_close(residual, theirs, forward("float32", KEYS))


def _gradients(function, arrays, chosen, weights):
  """Gradients in q, k, v and bias, if there is one."""
  bias = chosen.get("bias")
  rest = {key: value for key, value in chosen.items() if key != "bias"}

  def loss(arrays, bias):
    return jnp.sum(function(*arrays, bias=bias, **rest) * weights)

  which = (0, 1) if bias is not None else 0
  run = jax.jit(jax.grad(loss, which), compiler_options=subject.QUICK)
  return jax.tree.leaves(run(arrays, bias))


@pytest.mark.parametrize(
    "chosen",
    (
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"is_causal": True}, marks=pytest.mark.slow),
        {"bias": ARGUMENTS["bias"][1], "is_causal": True},
        {"mask": ARGUMENTS["mask"][1], "scale": 0.3},
        {"bias": ARGUMENTS["bias"][3], "local_window_size": (3, 2)},
        {"query_seq_lengths": ARGUMENTS["query_seq_lengths"][1]},
        {"key_value_seq_lengths": ARGUMENTS["key_value_seq_lengths"][1]},
    ),
    ids=_name,
)
def test_gradients_are_those_of_jax_nn(chosen):
  arrays = _arrays(kv_heads=2)
  weights = _random(BATCH, QUERIES, HEADS, WIDTH, seed=3)
  got = _gradients(dot_product_attention, arrays, chosen, weights)
  expected = _gradients(jax.nn.dot_product_attention, arrays, chosen, weights)
  for number, (a, b) in enumerate(zip(got, expected, strict=True)):
    assert_close(a, b, backward("float32", KEYS), f"gradient {number}")


def test_a_query_that_sees_no_key_is_exactly_zero_with_zero_gradient():
  arrays = _arrays()
  mask = _mask(BATCH, HEADS, QUERIES, KEYS)
  mask[:, :, 5] = False
  cotangent = np.zeros((1, QUERIES, 1, 1), np.float32)
  cotangent[:, 5] = 1

  def loss(arrays, weights):
    out = dot_product_attention(*arrays, mask=mask)
    return jnp.sum(out * weights), out

  gradient = jax.grad(loss, has_aux=True)
  grads, out = gradient(arrays, cotangent)
  np.testing.assert_array_equal(np.asarray(out)[:, 5], 0)
  for leaf in grads:
    np.testing.assert_array_equal(leaf, 0)
  grads, _ = gradient(arrays, 1.0)
  for leaf in grads:
    assert np.all(np.isfinite(leaf))
  np.testing.assert_array_equal(np.asarray(grads[0])[:, 5], 0)


@pytest.mark.parametrize(
  ("change", "words"),
  (
    (lambda q, k, v: ((q[..., None], k, v), {}), ("query", "19, 4, 6, 1")),
    (lambda q, k, v: ((q, k[:1], v), {}), ("1", "2")),
    (lambda q, k, v: ((q, k, v[:, :-1]), {}), ("value", "18")),
    (lambda q, k, v: ((q, k[:, :, :3], v[:, :, :3]), {}), ("3", "4")),
    (lambda q, k, v: ((q, k, v), {"implementation": "no"}), ("no",)),
    (lambda q, k, v: ((q, k, v), {"mask": jnp.ones((1, 1, 3, 19), bool)}),
     ("mask", "3")),
    (lambda q, k, v: ((q, k, v), {"bias": jnp.ones((1, 1, 3, 19))}),
     ("bias", "3")),
    (lambda q, k, v: ((q, k, v), {"query_seq_lengths": jnp.ones(3, int)}),
     ("query_seq_lengths", "3")),
  ),
)  # fmt: skip
def test_arguments_that_do_not_fit_raise_value_errors(change, words):
  arrays, chosen = change(*_arrays())
  with pytest.raises(ValueError) as error:
    dot_product_attention(*arrays, **chosen)
  for word in words:
    assert word in str(error.value)


def _layer(**changes):
  return nn.MultiHeadDotProductAttention(
      num_heads=HEADS, qkv_features=24, **changes
  )


MASKS = {
    "no mask": None,
    "causal": nn.make_causal_mask(jnp.ones((BATCH, QUERIES))),
    "causal, boolean": nn.make_causal_mask(
        jnp.ones((BATCH, QUERIES)), dtype=bool
    ),
    "padding": nn.make_attention_mask(
        jnp.arange(QUERIES) < jnp.array([[19], [12]]),
        jnp.arange(QUERIES) < jnp.array([[19], [12]]) + 1,
    ),
}


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(
            mask,
            marks=() if mask in ("causal", "padding") else pytest.mark.slow,
        )
        for mask in MASKS
    ],
)
def test_it_serves_flax_multi_head_attention(mask):
  x = _random(BATCH, QUERIES, 16, seed=4)
  key = jax.random.key(0)
  plain = _layer()
  parameters = plain.init(key, x)

  def gradient(layer):
    def loss(parameters):
      out = layer.apply(parameters, x, mask=MASKS[mask])
      seen = 1.0 if mask != "padding" else jnp.array([[19], [12]])
      rows = jnp.arange(QUERIES)[None] < seen if mask == "padding" else 1.0
      return jnp.sum(jnp.sin(out) * jnp.asarray(rows)[..., None]), out

    run = jax.jit(jax.grad(loss, has_aux=True), compiler_options=subject.QUICK)
    return run(parameters)

  ours, out = gradient(_layer(attention_fn=dot_product_attention))
  theirs, expected = gradient(plain)
  rows = np.ones((BATCH, QUERIES), bool)
  if mask == "padding":
    rows = np.arange(QUERIES) < np.array([[19], [12]])
  assert_close(
      np.asarray(out)[rows],
      np.asarray(expected)[rows],
      forward("float32", KEYS),
  )
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    # The key bias has no gradient but rounding: it shifts every logit alike.
    np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-5)


def test_it_serves_flax_with_dropout_turned_off():
  x = _random(BATCH, QUERIES, 16, seed=4)
  plain = _layer(dropout_rate=0.5)
  ours = _layer(dropout_rate=0.5, attention_fn=dot_product_attention)
  parameters = plain.init(jax.random.key(0), x, deterministic=True)
  out = ours.apply(parameters, x, deterministic=True)
  expected = plain.apply(parameters, x, deterministic=True)
  assert_close(out, expected, forward("float32", KEYS))


def test_it_serves_flax_decoding_token_by_token():
  x = _random(BATCH, 5, 16, seed=4)
  key = jax.random.key(0)
  outs = []
  for changes in ({}, {"attention_fn": dot_product_attention}):
    layer = _layer(decode=True, **changes)
    variables = layer.init(key, x)
    cache, parameters = variables["cache"], variables["params"]
    rows = []
    for t in range(x.shape[1]):
      out, changed = layer.apply(
        {"params": parameters, "cache": cache}, x[:, t : t + 1],
        mutable=["cache"],
      )  # fmt: skip
      cache = changed["cache"]
      rows.append(out)
    outs.append(jnp.concatenate(rows, axis=1))
  assert_close(outs[1], outs[0], forward("float32", KEYS))
