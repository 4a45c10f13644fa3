"""Gradients hold little beside the features of the tokens, and linearly so.

What the compiler reports, at lengths that nobody runs in a test.
"""

import functools
import math

import jax
import pytest

from lalm.attention import catalogue
from lalm.attention import hierarchical

HEADS, WIDTH = 8, 64
LENGTHS = 16_384, 32_768, 65_536
# All that keep, for a token, no more than another number of tokens would.
LINEAR = [
    name
    for name in catalogue.names()
    if "chunkwise" in catalogue.get(name).forms
    and name not in ("loglinear", "lsh")
]
QUICK = ("linear", "gated_deltanet")


@functools.cache
def _temporaries(name, length):
  """Bytes of temporaries of value and gradients, compiled and not run."""
  mechanism = catalogue.get(name)
  arrays, gates = jax.eval_shape(
      lambda key: mechanism.inputs(
          key, length=length, heads=HEADS, width=WIDTH
      ),
      jax.random.key(0),
  )
  form = mechanism.forms["chunkwise"]

  def both(arrays, gates, cotangent):
    out, pull = jax.vjp(lambda a, g: form(*a, **g).out, arrays, gates)
    return out, pull(cotangent)

  out = jax.ShapeDtypeStruct((1, length, HEADS, WIDTH), "float32")
  compiled = jax.jit(both).lower(arrays, gates, out).compile()
  return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in LINEAR
    ],
)
def test_gradients_hold_a_few_times_the_features_of_the_tokens(name):
  mechanism = catalogue.get(name)
  writes = mechanism.writes or 1
  features = mechanism.features(WIDTH)
  numbers = HEADS * (features * (1 + writes) + WIDTH * writes)
  window = mechanism.transition.startswith("none")
  most = 2 if mechanism.transition in ("identity", "scalar") or window else 3
  short, middle, long = (_temporaries(name, length) for length in LENGTHS)
  assert long <= most * 4 * LENGTHS[-1] * numbers
  # A few MiB are those of one chunk, whatever the length; the rest grows.
  exponent = math.log2((long - middle) / (middle - short))
  assert abs(exponent - 1) <= 0.02
  assert 2 * middle - long <= 16 * 2**20 * max(1, features // WIDTH)


@pytest.mark.slow
def test_gradients_of_a_hierarchy_hold_a_state_for_each_level_and_chunk():
  short, middle, long = (_temporaries("loglinear", n) / n for n in LENGTHS)
  assert long <= 4 * 4 * HEADS * 3 * WIDTH
  # Twice the tokens have a level more; what is of one chunk falls as 1 / n.
  level = 2 * (long - middle) - (middle - short)
  states = 4 * HEADS * WIDTH**2 / hierarchical.CHUNK
  assert abs(level / states - 1) <= 0.03
