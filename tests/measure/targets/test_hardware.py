"""Machines that are not here: their names, their peaks."""

import pytest

from lalm.measure.targets import costs
from lalm.measure.targets import hardware


def test_an_unknown_machine_is_refused_with_those_there_are():
  with pytest.raises(ValueError, match="h100, h100x2, .*tpu.*; got 'tpu-v9'"):
    hardware.get("tpu-v9")


@pytest.mark.parametrize("name", hardware.MACHINES)
def test_a_machine_has_as_many_devices_as_its_name_says(name):
  machine = hardware.get(name)
  assert machine.name == name
  words = machine.topology.rpartition(":")[2].split("x")
  count = 1
  for word in words:
    count *= int(word)
  assert machine.devices == count
  assert machine.chip.platform in ("cuda", "tpu")
  rates = machine.chip.products
  assert rates["float32"] < rates["bfloat16"]
  # A chip makes hundreds of operations while it reads a byte.
  assert 100 < rates["bfloat16"] / machine.chip.bandwidth < 1000
  assert machine.chip.links < machine.chip.bandwidth


def test_clocks_of_tpus_are_those_of_chips():
  clocks = {m.chip.clock for m in hardware.MACHINES.values() if m.chip.clock}
  assert clocks and all(0.9e9 < clock < 2e9 for clock in clocks)


def test_a_roofline_is_the_longest_of_three():
  machine = hardware.get("tpu-v5e-2x2")
  chip = machine.chip
  second = {kind: 2 * rate for kind, rate in chip.products.items()}
  kinds = {kind: second[kind] for kind in ("bfloat16", "float32")}
  counted = costs.operations.Operations(kinds=kinds)
  one = costs.Costs(0, 0, 0, 0, counted, 0.0, {}, None, None, 0.0, 0.0)
  seconds = lambda **fields: costs.roofline(one._replace(**fields), machine)
  assert seconds() == 1.0  # one of each kind; each of the four a quarter
  assert seconds(traffic=3 * chip.bandwidth) == 3.0
  assert seconds(collectives={"all-gather": (1, 2 * chip.links)}) == 2.0
  assert seconds(collectives={"all-reduce": (1, 2 * chip.links)}) == 4.0
  unknown = costs.operations.Operations(kinds={**kinds, "float64": 1})
  assert seconds(operations=unknown) is None
  assert seconds(operations=None) is None
  assert seconds(traffic=None) is None
  alone = machine._replace(devices=1)
  assert costs.roofline(one, alone) == 4.0
