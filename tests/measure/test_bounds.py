"""Bounds of blocks are reached by what they are bounds of, and never passed."""

import dataclasses

import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.measure import bounds
from lalm.spectral import lapack
from lalm.spectral import rank

_POINT = {"length": 40, "width": 6, "window": 5}


def _hierarchy(length, width):
  """Log-linear attention's matrix by its equation, with random weights."""
  generator = np.random.default_rng(0)
  q, k = generator.standard_normal((2, length, width))
  t = np.arange(length)
  bits = np.vectorize(lambda x: int(x).bit_length())
  levels = bits(t[:, None] ^ t)
  weights = generator.uniform(0.5, 1, (length, length.bit_length() + 1))
  rows = np.take_along_axis(weights, levels, axis=1)
  return np.tril(rows * (q @ k.T))


@pytest.mark.parametrize("length", [32, 41])
@pytest.mark.parametrize("width", [1, 3, 4])
def test_buckets_have_the_rank_of_the_bound_below_every_cut(length, width):
  matrix = _hierarchy(length, width)
  for cut in range(1, length):
    values = lapack.singular_values(rank.block_below(matrix, cut))
    found = rank.numerical_rank(values, 1e-12)
    bound = bounds.buckets(cut, length, width)
    assert found == min(bound, cut, length - cut), cut


def test_buckets_are_one_at_a_power_of_two_and_log_n_between():
  widest = [bounds.buckets(2 * n // 3, n, 16) for n in (64, 256, 1024, 4096)]
  assert widest == [22, 42, 58, 74]  # 16 more for two doublings
  assert {bounds.buckets(n // 2, n, 16) for n in (64, 256, 1024)} == {16}
  # One row alone sees all of them; the next sees one bucket.
  assert bounds.buckets(511, 1024, 16) == 17


def test_of_a_bucket_only_what_is_before_the_cut_is_read():
  # Row 6 has the buckets of tokens 0 to 3 and 4 to 5, of which 4 is before 5.
  assert bounds._read(6, 5, 3) == 3 + 1
  assert bounds._read(6, 4, 3) == 3
  assert bounds._read(7, 7, 3) == 3 + 2 + 1


@pytest.mark.parametrize(
    ("name", "rank_", "words"),
    [
        ("softmax", None, "none"),
        ("lsh", None, "none"),
        ("window", 4, "W - 1"),
        ("linear", 6, "F"),
        ("based", 1 + 6 + 36, "F"),
        ("deltaproduct", 6, "F"),
        ("loglinear", 6 + 4, "F a bucket"),
        ("linformer", 10, "P"),
        ("nystromformer", 40, "landmarks"),
    ],
)
def test_each_mechanism_has_the_bound_of_what_it_keeps(name, rank_, words):
  found = bounds.of(catalogue.get(name), _POINT, 20)
  assert found == (rank_, words)


def test_what_does_not_say_that_it_has_a_state_has_no_bound():
  own = dataclasses.replace(catalogue.get("linear"), name="own", transition="")
  assert bounds.of(own, _POINT, 20).rank is None
