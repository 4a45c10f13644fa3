"""Peaks that only processes of their own can read, and who is told of them."""

import pytest

from lalm.launch import supervisor


@pytest.fixture
def apart(monkeypatch):
  monkeypatch.setenv("STUB_MEMORY", "peak_bytes_in_use")
  # The stub predicts the same for all: let the longest be asked for first.
  read = supervisor.peaks.read
  backwards = lambda job, order, plans, wanted: read(
      job, sorted(order, key=lambda i: -plans[i].point["length"]), plans, wanted
  )
  monkeypatch.setattr(supervisor.peaks, "read", backwards)


def test_a_peak_is_read_in_a_process_where_nothing_took_more(
    apart, sweep, measured
):
  assert sweep().status == 0
  asked = [entry for entry in measured() if "peak" in entry]
  # The longest hides the others from its process, and so on.
  assert [entry["peak"] for entry in asked] == [
      128, 64, 32, 16, 64, 32, 16, 32, 16, 16,
  ]  # fmt: skip
  assert len({entry["pid"] for entry in asked}) == 4


def test_what_is_timed_is_recorded_before_more_peaks_are_read(
    apart, sweep, measured, monkeypatch
):
  monkeypatch.setattr(supervisor.order, "_TOGETHER", 2)
  sweep()
  first = [e for e in measured() if e.get("replicate", 0) == 0]
  kinds = ["peak" if "peak" in entry else "time" for entry in first]
  runs = [kind for kind, before in zip(kinds, ["", *kinds]) if kind != before]
  assert runs == ["peak", "time", "peak", "time"]
  timed = [entry["length"] for entry in first if "peak" not in entry]
  assert sorted(timed) == [16, 32, 64, 128]


def test_the_worker_that_times_first_is_told_every_peak(apart, sweep, measured):
  sweep()
  timed = [entry for entry in measured() if "peak" not in entry]
  assert {entry["pid"] for entry in timed}.isdisjoint(
      entry["pid"] for entry in measured() if "peak" in entry
  )
  for entry in timed:
    told = {p["length"]: peak for p, peak in entry["settings"]["peaks"]}
    expected = {} if entry["replicate"] else (16, 32, 64, 128)
    assert told == {n: {"bytes": n << 20, "method": "stub"} for n in expected}


def test_a_point_whose_peak_cannot_be_read_is_measured_all_the_same(
    apart, sweep, records, measured
):
  assert sweep("--config.mechanisms=exhausted").status == 1
  first = {
      r["point"]["length"]: r["status"]
      for r in records()
      if r["replicate"] == 0
  }
  assert first == {
      16: "ok", 32: "ok", 64: "out_of_memory", 128: "out_of_memory",
  }  # fmt: skip
  timed = [e for e in measured() if "peak" not in e and e["replicate"] == 0]
  assert {16, 32} < {entry["length"] for entry in timed}


def test_a_process_that_only_compiled_is_given_another_try(monkeypatch):
  plan = supervisor.Plan({"length": 1}, "key", bytes=1)
  hidden = supervisor.conversation.Answer(
      0, {"bytes": None, "method": "x"}, 0.0, None
  )
  shown = hidden._replace(fields={"bytes": 7, "method": "x"})
  for answers, found in (([hidden, shown], [7]), ([hidden] * 3, [])):
    asked = []

    def converse(job, left, wanted, answers=answers, asked=asked):
      asked.append(list(left))
      yield answers[len(asked) - 1]

    monkeypatch.setattr(supervisor.conversation, "converse", converse)
    job = type("Job", (), {"target": "m:T", "_replace": lambda self, **_: self})
    readings = supervisor.peaks.read(job(), [0], [plan], lambda _: True)
    assert [x.peak["bytes"] for x in readings] == found
    assert len(asked) == 2


def test_where_the_mark_can_be_reset_nothing_is_read_apart(sweep, measured):
  sweep()
  assert all("peak" not in entry for entry in measured())
