"""Widths of keys and values that models have, up to F = 4,096: slow."""

import pytest

from lalm.attention import catalogue
from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import backward
from tests.attention.bounds import values
from tests.oracles.compare import assert_close

pytestmark = pytest.mark.slow

WIDTHS = tuple(
    cases.Case(
        f"K = {width}, V = {value_width}",
        length=70,
        batch=1,
        width=width,
        value_width=value_width,
        chunk=None,
        dtype="float32",
        margin=0.1,
    )
    for width, value_width in ((8, 128), (16, 8), (32, 64), (63, 33), (128, 16))
)


def _skip_beyond(mechanism, case):
  features = catalogue.get(mechanism).features(case.width)
  if features > 4096:
    pytest.skip(f"{mechanism} has {features} features of K = {case.width}")


@pytest.mark.cases(*WIDTHS)
def test_wide_and_narrow_heads_equal_the_oracle(mechanism, form, case):
  _skip_beyond(mechanism, case)
  inputs, out, _ = subject.values(mechanism, form, case)
  expected = subject.oracle(mechanism, case, inputs)
  assert_close(out, expected, values(mechanism, form, case))


@pytest.mark.cases(*WIDTHS)
def test_their_derivatives_equal_the_definition_in_float64(
    mechanism, form, case
):
  _skip_beyond(mechanism, case)
  got = subject.derivatives(mechanism, form, case)
  definition = subject.definition(mechanism)
  exact = subject.derivatives(mechanism, definition, case, exact=True)
  for name, mine, theirs in subject.pairs(got, exact):
    assert_close(mine, theirs, backward(case.dtype, case.length), name)
