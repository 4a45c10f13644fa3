"""Every form compiles for TPU, where its compiler is installed."""

import importlib.util

import pytest

from lalm.attention import catalogue
from lalm.measure import kernel
from lalm.measure.targets import absent
from lalm.measure.targets import hardware

pytestmark = [
    pytest.mark.tpu_compiler,
    pytest.mark.skipif(
        importlib.util.find_spec("libtpu") is None,
        reason='the TPU compiler is not installed: pip install "lalm[tpu]"',
    ),
]
_POINT = {
    "length": 64, "batch": 1, "heads": 2, "width": 16, "value_width": 16,
    "dtype": "float32", "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
_FORMS = [
    (name, form)
    for name in catalogue.names()
    for form in catalogue.get(name).forms
    if form != "step"
]


def _measured(name, form, **fields):
  causal = catalogue.get(name).causal
  point = {**_POINT, "mechanism": name, "form": form, "causal": causal}
  target = absent.Target(kernel.TARGET, hardware.get("tpu-v5e-2x2"))
  return target.measure({**point, **fields}, 0, {})


@pytest.mark.parametrize("pass_", ["forward", "forward_backward"])
@pytest.mark.parametrize(("name", "form"), _FORMS)
def test_every_form_compiles(name, form, pass_):
  record = _measured(name, form, **{"pass": pass_})
  assert record["status"] == "ok"
  assert record["memory"]["device_bytes"] > 0
  assert record["estimate"]["compiler_seconds"] > 0


def test_memory_of_scores_is_quadratic_and_of_states_linear():
  sizes = {
      (name, length): _measured(
          name, form, length=length, heads=8, width=64, value_width=64,
          **{"pass": "forward"},
      )["memory"]["device_bytes"]
      for name, form in (("softmax", "parallel"), ("linear", "chunkwise"))
      for length in (2**16, 2**17)
  }  # fmt: skip
  assert sizes["softmax", 2**17] > 3.9 * sizes["softmax", 2**16]
  assert sizes["linear", 2**17] == pytest.approx(
      2 * sizes["linear", 2**16], rel=0.02
  )
