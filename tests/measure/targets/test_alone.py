"""Decoding is compiled for one device of a machine, by the token."""

import jax
import pytest

from lalm.measure import decoding
from lalm.measure.targets import alone
from lalm.measure.targets import hardware
from lalm.measure.targets import topology

_POINT = {
    "mechanism": "softmax", "form": "decode", "pass": "step", "tokens": 4,
    "length": 64, "batch": 1, "heads": 2, "width": 8, "value_width": 8,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip


@pytest.fixture(name="target")
def _target(monkeypatch):
  """A target whose compiler is that of the CPU, of several devices."""
  monkeypatch.setattr(topology, "devices", lambda name: jax.devices()[:4])
  monkeypatch.setitem(topology._COMPILERS, "tpu", "jaxlib")
  return alone.Target(decoding.TARGET, hardware.get("tpu-v5e-2x2"))


def test_a_record_is_of_one_token_on_one_device(target):
  record = target.measure(_POINT, 0, {})
  assert (record["status"], record["sharding"]) == ("ok", "one device")
  state = 64 * 2 * (8 + 8) * 4  # keys and values of all tokens
  assert state <= record["state_bytes"] < 1.1 * state
  counted = record["operations"]
  # One query with 64 keys, and as many weights with values.
  assert counted["products"] == counted["closed_form"] == 2 * 2 * 64 * (8 + 8)
  assert record["estimate"]["traffic_bytes"] > 0 and "seconds" not in record
  whole = target.measure({**_POINT, "tokens": 8}, 0, {})
  ratio = (
      whole["estimate"]["traffic_bytes"] / record["estimate"]["traffic_bytes"]
  )
  assert ratio == pytest.approx(1, abs=0.2)  # of a token, whatever a call has


def test_a_prefill_is_of_all_tokens(target):
  record = target.measure({**_POINT, "pass": "prefill"}, 0, {})
  assert record["status"] == "ok" and record["state_bytes"] > 0
  assert record["operations"]["products"] > 2 * 2 * 64 * (8 + 8)
  assert target.plan(_POINT, {})["key"] != record["key"]


def test_it_is_found_by_its_name():
  name = "lalm.measure.decoding:TARGET@h100"
  assert alone.__getattr__(name)._present is decoding.TARGET
