"""Every form computes its definition: values, at every length and dtype."""

import pytest

from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close


def _check(mechanism, form, case):
  inputs, out, _ = subject.values(mechanism, form, case)
  expected = subject.oracle(mechanism, case, inputs)
  assert out.dtype == inputs.arrays[2].dtype
  assert_close(out, expected, forward(case.dtype, case.length))


@pytest.mark.leading(
    "causal",
    "full",
    "full, packed",
    "packed, grouped heads",
    "fewer queries than keys",
    "two halves on a chunk edge",
    "one token, then the others",
    "two halves, packed, grouped heads",
)
@pytest.mark.quick("several blocks a chunk, packed", forms=("chunkwise",))
@pytest.mark.cases(*cases.FEATURES)
def test_every_form_equals_the_oracle(mechanism, form, case):
  _check(mechanism, form, case)


@pytest.mark.leading(
    *(f"causal, length {n}" for n in (1, 2, 65, 127, 1000)), "full, length 65"
)
@pytest.mark.cases(*cases.ODD)
def test_every_length_equals_the_oracle(mechanism, form, case):
  _check(mechanism, form, case)


@pytest.mark.leading(
    *(c.name for c in cases.PRECISIONS if c.causal),
    "bfloat16, full, length 129",
)
@pytest.mark.cases(*cases.PRECISIONS)
def test_every_dtype_equals_the_oracle_on_the_rounded_inputs(
    mechanism, form, case
):
  _check(mechanism, form, case)
