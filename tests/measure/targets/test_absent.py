"""Points that are compiled, not run: as on a machine of four CPU devices."""

import json
import re
import sys
import types

import jax
import pytest

from lalm.measure import kernel
from lalm.measure import worker
from lalm.measure.targets import absent
from lalm.measure.targets import hardware
from lalm.measure.targets import topology

_POINT = {
    "mechanism": "linear", "form": "chunkwise", "pass": "forward",
    "length": 64, "batch": 1, "heads": 2, "width": 8, "value_width": 8,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip
_NAME = "tpu-v5e-2x2"


@pytest.fixture(name="target")
def _target(monkeypatch):
  """A target whose compiler is that of the CPU."""
  if jax.device_count() < 4:
    pytest.skip("four devices are needed")
  monkeypatch.setattr(topology, "devices", lambda name: jax.devices()[:4])
  monkeypatch.setitem(topology._COMPILERS, "tpu", "jaxlib")
  return absent.Target(kernel.TARGET, hardware.get(_NAME))


def _measured(target, **fields):
  record = target.measure({**_POINT, **fields}, 0, {})
  assert json.loads(json.dumps(record, allow_nan=False)) == record
  return record


@pytest.mark.parametrize(
    ("mechanism", "way"),
    [("loglinear", "passed levels"), ("lsh", "partitioner")],
)
def test_what_the_library_cannot_split_is_the_partitioners(
    target, mechanism, way
):
  lowered, found = target._lowered(
      {**_POINT, "mechanism": mechanism, "form": "chunkwise"}
  )
  assert found == way and lowered.seconds > 0


@pytest.mark.parametrize(
    ("mechanism", "form", "way"),
    [
        ("linear", "chunkwise", "passed states"),
        ("softmax", "blockwise", "gathered keys"),
        ("window", "chunkwise", "nearest keys"),
    ],
)
def test_a_record_says_what_a_device_holds_and_moves(
    target, mechanism, form, way
):
  record = _measured(target, mechanism=mechanism, form=form)
  assert record["status"] == "ok" and record["sharding"] == way
  assert "seconds" not in record
  given = 3 * 64 * 2 * 8 * 4 // 4  # q, k and v, of which a device has a quarter
  memory, estimate = record["memory"], record["estimate"]
  assert memory["compiler_argument_bytes"] == given
  assert memory["device_bytes"] == memory["peak_bytes"] + given
  assert estimate["traffic_bytes"] >= given
  assert estimate["communication_bytes"] > 0
  assert estimate["roofline_seconds"] > 0
  planned = target.plan({**_POINT, "mechanism": mechanism, "form": form}, {})
  assert planned["key"] == record["key"]


def test_states_are_sent_whatever_the_length_and_keys_are_not(target):
  sent = {
      (mechanism, length): _measured(
          target, mechanism=mechanism, form=form, length=length
      )["estimate"]["communication_bytes"]
      for mechanism, form in (("linear", "chunkwise"), ("softmax", "blockwise"))
      for length in (64, 256)
  }
  state = 2 * 8 * (8 + 1) * 4  # of two heads, S and z
  assert sent["linear", 64] == sent["linear", 256] == 4 * state
  assert sent["softmax", 256] == 4 * sent["softmax", 64] == 2 * 256 * 2 * 8 * 4


def test_what_a_device_cannot_hold_is_out_of_memory(target, monkeypatch):
  chip = hardware.get(_NAME).chip._replace(memory=1000)
  machine = hardware.get(_NAME)._replace(chip=chip)
  monkeypatch.setattr(target, "_machine", machine)
  record = _measured(target)
  assert record["status"] == "out_of_memory"
  needs = r"needs [\d.]+ KiB of each device, which has 1,000 B"
  assert re.fullmatch(needs, record["reason"])
  assert record["memory"]["device_bytes"] > 1000


def test_a_length_that_devices_do_not_divide_is_refused(target):
  with pytest.raises(ValueError, match="a multiple of 4 tokens"):
    target.plan({**_POINT, "length": 66}, {})


def test_surroundings_are_the_machines_not_this_ones(target):
  found = target.surroundings()
  assert found["provenance"] == "compiled"
  assert found["machine"] == found["slug"] == _NAME
  assert found["device"] == "tpu" and found["device_count"] == 4
  assert found["peaks"]["bytes_per_second"] == 819e9
  assert target.environment() == found


def test_a_target_is_found_by_the_name_of_another_and_a_machine():
  name = "lalm.measure.targets.absent:lalm.measure.kernel:TARGET@h100x8"
  found = worker.load(name)
  assert found._present is kernel.TARGET
  assert found._machine is hardware.get("h100x8")
  for wrong in (name.replace("h100x8", "h100x7"), name.partition("@")[0]):
    with pytest.raises(ValueError, match="target: "):
      worker.load(wrong)


def test_a_compiler_that_is_missing_is_named_with_its_extra(monkeypatch):
  def missing(**options):
    raise RuntimeError("no plugin")

  topology.devices.cache_clear()
  monkeypatch.setattr(topology.topologies, "get_topology_desc", missing)
  monkeypatch.setitem(sys.modules, "libtpu", None)
  for name, extra in ((_NAME, "tpu"), ("h100", "cuda")):
    with pytest.raises(topology.Missing, match=rf'"lalm\[{extra}\]"'):
      topology.devices(name)


def test_a_plugin_that_jax_has_refused_is_begun_again(monkeypatch):
  begun = []
  plugin = types.SimpleNamespace(initialize=lambda: begun.append(True))

  def described(**options):
    if not begun:
      raise NotImplementedError("topology not implemented for cuda")
    return types.SimpleNamespace(devices=["a device"])

  topology.devices.cache_clear()
  monkeypatch.setattr(topology.topologies, "get_topology_desc", described)
  monkeypatch.setitem(sys.modules, topology._PLUGIN, plugin)
  assert topology.devices("h100") == ("a device",) and begun == [True]
  topology.devices.cache_clear()
  begun.clear()
  with pytest.raises(topology.Missing, match=r"lalm\[tpu\]"):
    topology.devices(_NAME)  # a plugin of CUDA is none of a TPU
