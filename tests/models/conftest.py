"""Small models of every mechanism."""

import functools

import jax
import pytest

from lalm.attention import catalogue
from lalm.models import sizes as sizes_lib
from lalm.models import transformer

VOCABULARY, LENGTH = 13, 12


def sizes(*mixers, **fields):
  """A model small enough to be tried with any mechanism."""
  given = dict(width=16, heads=2) | fields
  return sizes_lib.Sizes(VOCABULARY, LENGTH, mixers, **given)


@functools.cache
def parameters(model, seed=0):
  """Parameters of a model, drawn once."""
  return transformer.init(jax.random.key(seed), model)


@pytest.fixture
def tokens():
  """`[2, 12]` tokens."""
  return jax.random.randint(jax.random.key(1), (2, LENGTH), 0, VOCABULARY)


def recurrent():
  """Names of the mechanisms that go on from a state."""
  return [n for n in catalogue.names() if catalogue.get(n).start is not None]
