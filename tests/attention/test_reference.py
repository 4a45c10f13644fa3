"""Rows of linear attention in float64 are those of its definition."""

import jax
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.attention import reference

pytestmark = pytest.mark.usefixtures("quickly_compiled")

_NAMES = ("performer", "based", "dpfp", "hedgehog", "cosine")


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("causal", (True, False))
def test_rows_of_features_are_those_of_the_definition(
    name, causal, monkeypatch
):
  monkeypatch.setattr(reference, "_KEYS", 16)  # several parts, the last short
  mechanism = catalogue.get(name)
  q, k, v = np.random.default_rng(0).standard_normal((3, 50, 8))
  rows = np.array([0, 17, 49])
  with jax.enable_x64(True):
    whole = (np.asarray(x)[None, :, None] for x in (q, k, v))
    expected = mechanism.definition(*whole, causal=causal).out[0, rows, 0]
  got = mechanism.reference(q, k, v, rows, causal=causal)
  assert got.dtype == np.float64
  np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)


def test_rows_without_a_feature_are_zero():
  none = np.zeros((3, 2))
  for normalize in (True, False):
    got = reference.feature_rows(
        none, none, none + 1, [1], causal=True, phi=np.abs, normalize=normalize
    )
    assert got.tolist() == [[0, 0]]
