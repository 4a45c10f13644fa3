"""What a call computes does not depend on how it is cut: bitwise, forward.

The path that is reproducible to the bit is one batch entry at a time under
`lax.map`, cut at multiples of the chunk; all else holds to rounding.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from tests.attention import cases
from tests.attention import subject

# A chunk that is one block, and one of several (`chunks`).
CHUNKS = pytest.mark.parametrize(
    "chunk", (8, pytest.param(64, marks=pytest.mark.slow))
)
FORMS = pytest.mark.forms("chunkwise")


@functools.cache
def _case(chunk):
  return cases.Case(
      "bits", length=5 * chunk, batch=3, heads=4, kv_heads=2, width=8,
      value_width=6, chunk=chunk, dtype="float32",
  )  # fmt: skip


@functools.cache
def _inputs(mechanism, chunk):
  if catalogue.get(mechanism).start is None:
    pytest.skip(f"{mechanism} sorts its tokens: a cut changes their order")
  arrays, gates, _ = cases.make(mechanism, _case(chunk))
  return arrays, gates


def _run(mechanism, form, chunk, arrays, gates, ids=None, state=None):
  """One compiled call, as a user makes it."""
  function = catalogue.get(mechanism).forms[form]
  named = dict(gates) if ids is None else {**gates, "segment_ids": ids}
  if state is not None:
    named["state"] = state
  return function(*arrays, chunk=chunk, **named)


def _equal(got, expected):
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
    np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@FORMS
@CHUNKS
@pytest.mark.parametrize("cuts", ((1,), (4,), (1, 2), (1, 2, 3, 4)))
def test_a_call_cut_at_chunks_is_the_call_to_the_bit(
    mechanism, form, chunk, cuts
):
  inputs = _inputs(mechanism, chunk)
  whole = _run(mechanism, form, chunk, *inputs)
  state, outs = None, []
  edges = [0, *(chunk * cut for cut in cuts), 5 * chunk]
  for start, stop in zip(edges, edges[1:]):
    piece = subject.part(inputs, start, stop)
    out, state = _run(mechanism, form, chunk, *piece, state=state)
    outs.append(out)
  _equal((jnp.concatenate(outs, axis=1), state), tuple(whole))


@FORMS
@CHUNKS
@pytest.mark.parametrize("prefix", (1, 2, 2.4))
def test_what_follows_a_prefix_does_not_touch_it(
    mechanism, form, chunk, prefix
):
  inputs = _inputs(mechanism, chunk)
  prefix = int(prefix * chunk)
  whole, _ = _run(mechanism, form, chunk, *inputs)
  alone, _ = _run(mechanism, form, chunk, *subject.part(inputs, 0, prefix))
  _equal(whole[:, :prefix], alone)


@FORMS
@CHUNKS
def test_a_document_that_starts_at_a_chunk_is_as_if_alone(
    mechanism, form, chunk
):
  inputs = _inputs(mechanism, chunk)
  ids = np.repeat([1, 2, 2, 5, 5], chunk).astype(np.int32)
  ids = np.broadcast_to(ids, (3, 5 * chunk))
  packed, _ = _run(mechanism, form, chunk, *inputs, ids=ids)
  for start, stop in ((0, 1), (1, 3), (3, 5)):
    start, stop = start * chunk, stop * chunk
    piece = subject.part(inputs, start, stop)
    alone, _ = _run(mechanism, form, chunk, *piece, ids=ids[:, start:stop])
    _equal(packed[:, start:stop], alone)


@FORMS
@CHUNKS
def test_a_batch_under_map_is_each_of_its_entries(mechanism, form, chunk):
  inputs = _inputs(mechanism, chunk)
  arrays, gates = inputs
  fixed = {key: x for key, x in gates.items() if not subject.timed(x)}

  def one(entry):
    arrays, gates = jax.tree.map(lambda x: x[None], entry)
    return _run(mechanism, form, chunk, arrays, {**gates, **fixed}).out[0]

  moving = {key: x for key, x in gates.items() if key not in fixed}
  mapped = jax.jit(lambda xs: jax.lax.map(one, xs))((arrays, moving))
  single = jax.jit(one)
  for b in range(3):
    entry = jax.tree.map(lambda x: x[b], (arrays, moving))
    _equal(mapped[b], single(entry))
