"""The table of an accelerator: its own time, and shares of what it can do."""

import pytest

from lalm import store
from lalm.attention import catalogue
from lalm.report import accelerators
from lalm.report import build
from lalm.report import tables

_POINT = {
    "mechanism": "linear", "form": "chunkwise", "pass": "forward",
    "batch": 1, "heads": 8, "width": 64, "value_width": 64,
    "dtype": "bfloat16", "causal": True, "chunk": None, "corpus": "",
    "seed": 0,
}  # fmt: skip


def _record(replicate, **fields):
  return {
      "key": "k", "status": "ok", "reason": "", "device": "gpu",
      "machine": "m", "point": {**_POINT, "length": 256},
      "replicate": replicate,
      "versions": {"jax": "1"}, "experiment": "attention_scaling",
      "started": "2026", "provenance": "measured",
      "seconds": [2e-3, 3e-3, 4e-3],
      "device_time": {"seconds": 1e-3, "calls": 5, "reason": ""},
      "operations": {"products": 4e9, "closed_form": 4e9},
      "ceilings": {"products_per_second": 16e12, "bytes_per_second": 1e12},
      "memory": {
          "peak_bytes": None,
          "compiler_temp_bytes": 2**20,
          "compiler_argument_bytes": 3e8,
          "compiler_output_bytes": 1e8,
      },
      **fields,
  }  # fmt: skip


def _table(tmp_path, *records):
  folder = tmp_path / "gpu"
  for record in records:
    store.append(folder / "records.jsonl", record)
  store.replace(folder / "environment.json", "{}")
  return tables.markdown(build.rebuild(folder).results)


def test_shares_are_of_the_devices_own_time(tmp_path):
  text = _table(tmp_path, _record(0), _record(1))
  # 4e9 products in 1 ms of 16e12 a second; 4e8 bytes of 1e12.
  assert (
      "| linear.chunkwise | forward | 256 | 3.00 ms | 1.00 ms | 25 % | 40 % |"
      in text
  )
  assert "caches are not emptied" in text


def test_a_worker_that_read_the_peak_is_enough(tmp_path):
  told = {**_record(0)["memory"], "compiler_output_bytes": 2**20}
  told["peak_bytes"] = 2**22
  text = _table(
      tmp_path,
      _record(0, memory=told),
      _record(1, memory={**told, "peak_bytes": None}),
  )
  assert "| 4.00 MiB | 2.00 MiB (2.00) |" in text


def test_without_a_profile_shares_are_of_the_wall_clock(tmp_path):
  silent = {"seconds": None, "calls": 3, "reason": "no profile"}
  text = _table(tmp_path, _record(0, device_time=silent))
  assert "| 3.00 ms | - | 8.3 % | 13 % | - |" in text


def test_a_processor_has_no_such_table(tmp_path):
  assert "device's time" not in _table(tmp_path, _record(0, device="cpu"))


def _step(mechanism, told):
  """A step that moves its least, 16 tokens a call, at the rate of copying."""
  state, tokens = 1e9, 16e6
  times = 1 if mechanism == "softmax" else 2
  point = {"mechanism": mechanism, "form": "decode", "pass": "step"}
  memory = {
      "compiler_argument_bytes": state + tokens / 2,
      "compiler_output_bytes": state + tokens / 2,
      **({"compiler_alias_bytes": state} if told else {}),
  }
  return _record(
      0,
      point={**_POINT, **point, "length": 2**17, "tokens": 16},
      memory=memory,
      state_bytes=int(state),
      device_time={"seconds": (times * state + tokens / 16) / 1e12},
      experiment="decode_latency",
  )


@pytest.mark.parametrize("told", (True, False))
@pytest.mark.parametrize("mechanism", ("softmax", "linear"))
def test_a_cache_is_read_once_and_another_state_is_made_anew(
    tmp_path, mechanism, told
):
  text = _table(tmp_path, _step(mechanism, told))
  own = text[text.index("device's time") :]
  (row,) = (x for x in own.splitlines() if f"| {mechanism}.decode | step" in x)
  assert row.split(" | ")[6] == "100 %"


def test_caches_are_those_of_the_mechanisms_that_keep_keys():
  found = set()
  for name in catalogue.names():
    mechanism = catalogue.get(name)
    if "step" in mechanism.forms and mechanism.start is not None:
      if hasattr(mechanism.init(1, 1, 8, 8, capacity=4), "keys"):
        found.add(name)
  assert found == set(accelerators.CACHED)
