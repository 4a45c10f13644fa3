"""Memory in a process of its own, for devices whose mark cannot be reset."""

import pytest

from lalm.measure import kernel
from lalm.measure import memory

_POINT = {
    "mechanism": "softmax",
    "form": "parallel",
    "pass": "forward",
    "length": 1024,
    "batch": 1,
    "heads": 8,
    "width": 16,
    "value_width": 16,
    "dtype": "float32",
    "causal": False,
    "chunk": None,
    "corpus": "normal",
    "seed": 0,
}


def test_a_fresh_process_measures_the_peak_of_a_point():
  found = kernel._fresh_peak(_POINT, {"cache": None})
  assert found.method == memory.method()
  # The logits are 32 MiB; no form of the softmax needs less than one of them.
  assert 30 < found.bytes / 2**20 < 160


def test_a_fresh_process_that_fails_says_why():
  with pytest.raises(RuntimeError, match="form: expected one of"):
    kernel._fresh_peak({**_POINT, "form": "absent"}, {"cache": None})
