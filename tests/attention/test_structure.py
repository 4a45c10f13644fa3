"""The matrix a linear-time mechanism applies: causal, of low block rank."""

import jax
import numpy as np
import pytest

from lalm.attention import catalogue
from tests.attention.bounds import forward
from tests.oracles import recurrences
from tests.oracles.compare import assert_close

pytestmark = pytest.mark.usefixtures("quickly_compiled")

LENGTH, WIDTH = 48, 5
# What is a state of F x V seen through the features, whatever its transition.
STATEFUL = [
    name
    for name in catalogue.names()
    if not catalogue.get(name).transition.startswith("none")
]


def _matrix(name):
  mechanism = catalogue.get(name)
  with jax.enable_x64(True):
    (q, k, _), gates = mechanism.inputs(
        jax.random.key(5), length=LENGTH, heads=1, width=WIDTH, dtype="float64"
    )
    return np.asarray(mechanism.matrix(q, k, **gates))[0, 0], mechanism


def _ranks(matrix):
  """Numerical ranks of the blocks below the diagonal at each cut."""
  for cut in range(8, LENGTH - 7, 8):
    block = matrix[cut:, : cut * matrix.shape[1] // LENGTH]
    sizes = np.linalg.svd(block, compute_uv=False)
    yield int(np.sum(sizes > 1e-11 * sizes[0]))


@pytest.mark.parametrize("name", STATEFUL)
def test_blocks_below_the_diagonal_have_at_most_the_rank_of_the_state(name):
  matrix, mechanism = _matrix(name)
  writes = mechanism.writes or 1
  above = np.arange(LENGTH * writes) // writes > np.arange(LENGTH)[:, None]
  np.testing.assert_array_equal(matrix[above], 0)
  features = mechanism.features(WIDTH)
  ranks = list(_ranks(matrix))
  if name == "loglinear":
    # A state for each block of the tokens before the cut, as 40 = 32 + 8.
    cuts = range(8, LENGTH - 7, 8)
    blocks = [min(features * i.bit_count(), LENGTH - i) for i in cuts]
    assert ranks == blocks
    return
  assert max(ranks) <= features
  # Where the state is smaller than the blocks, it is used whole.
  if features <= 8 and name != "dpfp":
    assert max(ranks) == features


def test_softmax_has_blocks_of_full_rank():
  matrix, _ = _matrix("softmax")
  assert max(_ranks(matrix)) > 2 * WIDTH


@pytest.mark.parametrize(
    "block",
    (
        8,
        20,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 48, 100)),
    ),
)
@pytest.mark.parametrize("form", ("parallel", "recurrent", "chunkwise"))
@pytest.mark.parametrize("packed", (False, True))
def test_block_causal_attention_sees_its_block_and_all_before(
    block, form, packed
):
  with jax.enable_x64(True):
    (q, k, v), _ = catalogue.get("linear").inputs(
        jax.random.key(6), batch=2, length=LENGTH, width=WIDTH, dtype="float64"
    )
    ids = None
    if packed:
      begins = np.isin(np.arange(LENGTH), (5, 8, 9, 31))
      ids = np.broadcast_to(np.cumsum(begins).astype(np.int32), (2, LENGTH))
    function = catalogue.get("linear").forms[form]
    extra = {"chunk": 8} if form == "chunkwise" else {}
    out, state = function(q, k, v, block=block, segment_ids=ids, **extra)
    _, causal = function(q, k, v, segment_ids=ids, **extra)
  expected = recurrences.block_causal(q, k, v, block=block, segment_ids=ids)
  assert_close(out, expected, forward("float64", LENGTH))
  for a, b in zip(state, causal):
    assert_close(a, b, forward("float64", LENGTH))


def test_a_block_without_a_future_is_refused():
  (q, k, v), _ = catalogue.get("linear").inputs(jax.random.key(0), length=4)
  for form in ("parallel", "recurrent", "chunkwise"):
    call = catalogue.get("linear").forms[form]
    with pytest.raises(ValueError, match="block: expected causal=True"):
      call(q, k, v, causal=False, block=2)
    with pytest.raises(ValueError, match="block: expected an integer >= 1"):
      call(q, k, v, block=0)
