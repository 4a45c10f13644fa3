"""What stands in for softmax, at small sizes beside the oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.attention import linformer
from lalm.attention import local
from lalm.attention import nystromformer
from lalm.attention import softmax
from lalm.attention import window
from lalm.measure import operations
from tests.attention.bounds import forward
from tests.oracles import buckets as bucket_oracle
from tests.oracles import compressed
from tests.oracles import hierarchical as level_oracle
from tests.oracles import softmax as softmax_oracle
from tests.oracles.compare import assert_close

_LENGTH = 13


@pytest.fixture(name="arrays")
def _arrays():
  """q, k and v of two heads that share one key."""
  draw = np.random.default_rng(0).standard_normal
  shapes = ((2, _LENGTH, 2, 6), (2, _LENGTH, 1, 6), (2, _LENGTH, 1, 5))
  with jax.enable_x64(True):
    yield tuple(jnp.asarray(draw(shape)) for shape in shapes)


@pytest.mark.parametrize("causal", (True, False))
@pytest.mark.parametrize(
    "chunk", (None, pytest.param(4, marks=pytest.mark.slow))
)
def test_tokens_meet_in_any_of_three_rounds(arrays, causal, chunk):
  """Of buckets with any number: below zero, or equal mod 2^32."""
  numbers = np.array([-1, 1, 2**32 + 1, 2**33 + 1])
  drawn = np.random.default_rng(1).integers(4, size=(2, _LENGTH, 1, 3))
  given = dict(buckets=numbers[drawn], causal=causal, window=3)
  expected = bucket_oracle.attention(*arrays, **given)
  given["buckets"] = jnp.asarray(given["buckets"])
  assert given["buckets"].dtype == jnp.int64
  chunked = local.chunkwise(*arrays, **given, chunk=chunk).out
  for out in (local.parallel(*arrays, **given).out, chunked):
    assert_close(out, expected, forward("float64", _LENGTH))


def test_keys_and_values_are_projected_by_their_own(arrays):
  draw = np.random.default_rng(2).standard_normal
  E, F = (jnp.asarray(draw((4, _LENGTH))) for _ in range(2))
  given = dict(key_projection=E, value_projection=F, causal=False)
  expected = compressed.linformer(*arrays, **given)
  for form in (linformer.parallel, linformer.blockwise):
    assert_close(form(*arrays, **given).out, expected, forward("float64", 13))


@pytest.mark.parametrize(
    "iterations", (pytest.param(1, marks=pytest.mark.slow), 3)
)
def test_an_inverse_has_as_many_iterations_as_asked_for(arrays, iterations):
  given = dict(landmarks=5, iterations=iterations, causal=False)
  expected = compressed.nystromformer(*arrays, **given)
  for form in (nystromformer.parallel, nystromformer.blockwise):
    assert_close(form(*arrays, **given).out, expected, forward("float64", 13))


def _steps(form, arrays, state, **keywords):
  """Runs a step a token; the outputs side by side, and the state."""
  outs = []
  for t in range(arrays[0].shape[1]):
    token = (x[:, t : t + 1] for x in arrays)
    out, state = form(*token, state=state, **keywords)
    outs.append(out)
  return jnp.concatenate(outs, axis=1), state


def _ring(size, dtype="float64"):
  return window.init(2, 1, 6, 5, dtype=dtype, window=size)


def test_a_ring_says_how_far_back_a_token_sees(arrays):
  expected = softmax_oracle.attention(*arrays, window=4)
  found = [
      window.parallel(*arrays, state=_ring(4)).out,
      window.chunkwise(*arrays, state=_ring(4), chunk=3).out,
      _steps(window.step, arrays, _ring(4))[0],
  ]
  for out in found:
    assert_close(out, expected, forward("float64", _LENGTH))
  for form in (window.parallel, window.chunkwise):
    with pytest.raises(ValueError, match="window = 5 tokens, got 4"):
      form(*arrays, state=_ring(4), window=5)


@pytest.mark.parametrize("causal", (True, False))
def test_buckets_of_a_window_longer_than_the_text_cost_no_more(arrays, causal):
  given = {
      "causal": causal,
      "buckets": jnp.zeros((2, _LENGTH, 1, 2), jnp.int32),
  }
  run = lambda size: lambda *x: local.chunkwise(*x, **given, window=size).out
  counts = {
      operations.count(run(size), *arrays).products for size in (13, 20_000)
  }
  assert len(counts) == 1
  expected = softmax_oracle.attention(*arrays, causal=causal)
  assert_close(run(20_000)(*arrays), expected, forward("float64", _LENGTH))


@pytest.mark.parametrize("causal", (True, False))
def test_a_window_may_be_longer_than_the_text(arrays, causal):
  out, state = window.chunkwise(*arrays, causal=causal, window=40)
  expected = softmax_oracle.attention(*arrays, causal=causal)
  assert_close(out, expected, forward("float64", _LENGTH))
  assert state.keys.shape[2] == 40 and state.length == _LENGTH
  with pytest.raises(ValueError, match="window: expected an integer < 2"):
    window.chunkwise(*arrays, window=2**31)


@pytest.mark.parametrize(
    ("name", "start"),
    (
        (
            "softmax",
            lambda: softmax.init(2, 1, 6, 5, capacity=20, dtype="bfloat16"),
        ),
        pytest.param(
            "window", lambda: _ring(8, "bfloat16"), marks=pytest.mark.slow
        ),
    ),
)
def test_an_output_is_not_rounded_as_its_cache_is(arrays, name, start):
  """A step rounds what it keeps and no more, and so does every form."""
  forms = dict(catalogue.get(name).forms)
  arrays = tuple(x.astype(jnp.float32) for x in arrays)
  expected, last = _steps(forms.pop("step"), arrays, start())
  for form in forms.values():
    out, state = form(*arrays, state=start())
    assert out.dtype == jnp.float32
    assert_close(out, np.float64(expected), forward("float32", _LENGTH))
    jax.tree.map(np.testing.assert_array_equal, state, last)


@pytest.mark.parametrize("chunk", (4, 16))
def test_a_chunk_may_be_longer_than_a_document_can_be(chunk):
  """A capacity of four tokens has two levels, a chunk of 16 has four."""
  entry = catalogue.get("loglinear")
  with jax.enable_x64(True):
    (q, k, v), gates = entry.inputs(
        jax.random.key(0), length=11, capacity=4, dtype="float64"
    )
    ids = np.array([[0, 0, 0, 1, 2, 2, 2, 2, 3, 3, 3]])
    state = entry.init(1, 2, 16, 16, capacity=4, dtype="float64")
    given = dict(gates, segment_ids=jnp.asarray(ids))
    out = entry.forms["chunkwise"](
        q, k, v, **given, state=state, chunk=chunk
    ).out
  expected = level_oracle.attention(q, k, v, **gates, segment_ids=ids)
  assert_close(out, expected, forward("float64", 11))
