"""What a device says of its own work, read from profiles."""

import jax
from jax.profiler import ProfileData
import jax.numpy as jnp
import pytest

from lalm.measure import device_time


def _plane(name, **lines):
  """Text of a plane whose lines hold (start, duration) in nanoseconds."""
  texts = []
  for number, (line, events) in enumerate(lines.items()):
    inside = " ".join(
        f"events {{ metadata_id: 1 offset_ps: {int(start * 1000)}"
        f" duration_ps: {int(duration * 1000)} }}"
        for start, duration in events
    )
    line = line.replace("__", " #")
    texts.append(f'lines {{ id: {number} name: "{line}" {inside} }}')
  known = 'event_metadata { key: 1 value { id: 1 name: "kernel" } }'
  return f'planes {{ name: "{name}" {" ".join(texts)} {known} }}'


def _busy(*planes):
  return device_time.busy(ProfileData.from_text_proto(" ".join(planes)))


def test_streams_that_work_at_once_count_once():
  plane = _plane(
      "/device:GPU:0",
      Stream__7=[(0, 100), (200, 50)],
      Stream__8=[(50, 100), (210, 10)],
  )
  assert _busy(plane) == pytest.approx(200e-9)


def test_a_profiler_that_fails_costs_its_own_seconds_only(monkeypatch):
  def fail(*_):
    raise RuntimeError("the profiler is busy")

  monkeypatch.setattr(jax.profiler, "trace", fail)
  found = device_time.measure(lambda: None, 1.0, 1.0)
  assert found["seconds"] is None
  assert found["reason"] == "RuntimeError: the profiler is busy"


def test_only_what_a_device_did_counts():
  host = _plane("/host:CPU", Stream__1=[(0, 1000)])
  derived = {"Steps": [(0, 900)], "XLA Ops": [(0, 900)], "Stream__1": [(5, 7)]}
  assert _busy(host, _plane("/device:GPU:0", **derived)) == pytest.approx(7e-9)
  assert _busy(host) == 0


def test_of_a_tpu_the_programs_count():
  lines = {"XLA Modules": [(0, 40), (60, 2)], "XLA Ops": [(0, 10)]}
  assert _busy(_plane("/device:TPU:0", **lines)) == pytest.approx(42e-9)


def test_of_several_devices_the_first_that_worked_counts():
  work = {n: _plane(f"/device:GPU:{n}", Stream__1=[(0, n)]) for n in (3, 1)}
  idle = _plane("/device:GPU:0", Stream__1=[])
  assert _busy(work[3], idle, work[1]) == pytest.approx(1e-9)


def test_a_device_without_a_profile_is_said_to_have_none():
  calls = []
  x = jnp.ones(8)

  def call():
    calls.append(0)
    return jax.block_until_ready(x + 1)

  found = device_time.measure(call, expected=0.1, budget=0.5)
  assert found["seconds"] is None and "no line" in found["reason"]
  assert len(calls) == found["calls"] == 5
  assert device_time.measure(call, 1.0, 0.5)["calls"] == 3
  assert device_time.measure(call, 1e-9, 0.5)["calls"] == 30
