"""Peers pass the same gate, and one that is missing says so."""

import importlib.util
import json

import pytest

from lalm.attention import catalogue
from lalm.measure import ceilings
from lalm.measure import libraries
from lalm.measure import peers

_POINT = {
    "mechanism": "softmax", "form": "jax.nn", "pass": "forward",
    "length": 40, "batch": 1, "heads": 2, "width": 16, "value_width": 8,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
_SETTINGS = {"point_budget": 0.02, "cache": None, "seed": 0, "gate": True}

torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
_FAMILIES = ("jla", "fla")
PASSES = pytest.mark.parametrize("pass_", ("forward", "forward_backward"))


_CEILINGS = {
    "products_per_second": 1e11,
    "batched_products_per_second": 5e10,
    "bytes_per_second": 1e10,
}


@pytest.fixture(autouse=True)
def _known_ceilings(monkeypatch):
  monkeypatch.setattr(ceilings, "measure", lambda dtype: _CEILINGS)
  monkeypatch.setattr(ceilings, "products", lambda dtype: 1e11)


def _point(**fields):
  point = {**_POINT, **fields}
  if point["form"] == "jax.nn":
    point["value_width"] = point["width"]
  return point


def _measure(**fields):
  point = _point(**fields)
  return peers.Target().measure(point, 0, _SETTINGS)


@PASSES
@pytest.mark.parametrize("causal", (True, False))
def test_the_peer_of_jax_passes_the_gate(pass_, causal):
  record = _measure(causal=causal, **{"pass": pass_})
  assert (record["status"], record["reason"]) == ("ok", "")
  assert record["error"]["relative"] <= record["error"]["tolerance"]


@torch
@PASSES
@pytest.mark.parametrize("mechanism", ("softmax", "linear"))
@pytest.mark.parametrize("causal", (True, False))
def test_peers_of_torch_pass_the_gate(mechanism, pass_, causal):
  record = _measure(
      mechanism=mechanism, form="torch", causal=causal, **{"pass": pass_}
  )
  assert (record["status"], record["reason"]) == ("ok", "")
  assert json.loads(json.dumps(record, allow_nan=False)) == record
  assert record["versions"]["torch"] and min(record["seconds"]) > 0


@torch
@PASSES
def test_torch_computes_float64_in_float64(pass_):
  record = _measure(form="torch", dtype="float64", **{"pass": pass_})
  assert (record["status"], record["reason"]) == ("ok", "")
  assert record["error"]["relative"] < 1e-8


def test_another_library_is_measured_again_with_a_changed_kernel_of_ours(
    monkeypatch,
):
  plan = lambda: peers.Target().plan(_point(form="jax.nn"), _SETTINGS)
  key = plan()["key"]
  assert plan()["key"] == key
  changed = catalogue.get("softmax").forms["parallel"]
  monkeypatch.setitem(libraries.FORMS, ("softmax", "lalm"), changed)
  assert plan()["key"] != key


@torch
@PASSES
def test_a_wrong_peer_of_torch_is_not_timed(monkeypatch, pass_):
  right = libraries.FORMS["linear", "torch"]
  wrong = lambda q, k, v, causal: right(q, k, 1.01 * v, causal=causal)
  monkeypatch.setitem(libraries.FORMS, ("linear", "torch"), wrong)
  record = _measure(mechanism="linear", form="torch", **{"pass": pass_})
  assert record["status"] == "wrong" and "seconds" not in record


@torch
def test_a_wrong_gradient_of_torch_is_seen(monkeypatch):
  right = libraries.FORMS["linear", "torch"]
  wrong = lambda q, k, v, causal: right(q, k, v, causal=causal) + 0.01 * (
      q.sum() - q.sum().detach()
  )
  monkeypatch.setitem(libraries.FORMS, ("linear", "torch"), wrong)
  assert _measure(mechanism="linear", form="torch")["status"] == "ok"
  record = _measure(
      mechanism="linear", form="torch", **{"pass": "forward_backward"}
  )
  assert record["status"] == "wrong"


def test_a_library_that_does_not_import_is_missing(monkeypatch):
  modules = {**libraries._MODULES, "jax.nn": ("no_such_module", False)}
  monkeypatch.setattr(libraries, "_MODULES", modules)
  assert libraries.missing("softmax")["jax.nn"] == "no_such_module"
  assert "jax.nn" not in peers.get("softmax").forms
  assert "lalm" in peers.get("softmax").forms


def test_on_a_gpu_a_library_that_stays_on_the_processor_is_missing(
    monkeypatch,
):
  assert libraries.missing("softmax")["cudnn"] == "an NVIDIA GPU"
  monkeypatch.setattr(libraries, "on_gpu", lambda: True)
  monkeypatch.setattr(libraries, "_cuda", lambda: False)
  known = {**libraries._MODULES, "torch": ("jax", True)}  # which imports
  monkeypatch.setattr(libraries, "_MODULES", known)
  assert libraries.missing("softmax") == {"torch": "PyTorch for GPUs"}
  monkeypatch.setattr(libraries, "_cuda", lambda: True)
  assert libraries.missing("softmax") == {}


def test_compiled_for_a_platform_are_libraries_of_jax_only():
  assert libraries.missing("softmax", "cuda") == {"torch": "a device to run on"}
  assert set(peers.get("softmax", "cuda").forms) == {"lalm", "jax.nn", "cudnn"}
  assert libraries.missing("linear", "cuda")["jla"] == "a Hopper GPU"
  found = peers.TARGET.find_for("tpu")("softmax")
  assert set(found.forms) == {"lalm", "jax.nn"}
  assert libraries.missing("softmax")["cudnn"] == "an NVIDIA GPU"


@pytest.mark.parametrize(
    ("work", "library"), [key for key in libraries.FORMS if key[1] in _FAMILIES]
)
@PASSES
def test_families_of_other_libraries_pass_the_gate(work, library, pass_):
  if library in libraries.missing(work):
    pytest.skip(f"{library} is not installed")
  fields = {"mechanism": work, "form": library, "length": 128, "pass": pass_}
  record = _measure(**fields, value_width=16)
  assert (record["status"], record["reason"]) == ("ok", "")
  assert min(record["seconds"]) > 0


def test_no_process_is_asked_for_a_peak_of_torch(monkeypatch):
  monkeypatch.setattr(peers.Target, "peak", lambda *_: pytest.fail("asked"))
  point = {**_POINT, "mechanism": "softmax", "form": "torch"}
  found = peers.PEAK.measure(point, 0, {})
  assert found == {"bytes": None, "method": None}


def test_an_unknown_work_is_refused():
  with pytest.raises(ValueError, match="mechanism: expected one of softmax"):
    peers.get("sofmax")
