"""Timing, on a clock that only moves when a call does."""

import pytest

from lalm.measure import timing


class _Machine:
  """Calls of given durations and the clock that they move."""

  def __init__(self, durations):
    self._durations = durations
    self.now = 0.0
    self.calls = 0

  def clock(self):
    return self.now

  def call(self):
    self.now += self._durations(self.calls)
    self.calls += 1


def _measure(durations, budget=2.0):
  machine = _Machine(durations)
  found = timing.measure(machine.call, budget=budget, clock=machine.clock)
  return machine, found


def test_a_constant_kernel_is_timed_exactly():
  _, found = _measure(lambda i: 0.01)
  assert found.seconds == pytest.approx([0.01] * len(found.seconds))
  assert found.calls == len(found.seconds)


def test_cold_calls_are_not_among_the_samples():
  cold = [1.0, 0.3, 0.1, 0.03]
  machine, found = _measure(lambda i: cold[i] if i < 4 else 0.01, budget=20)
  assert max(found.seconds) == pytest.approx(0.01)
  assert found.calls < machine.calls


def test_short_calls_are_batched_and_reported_per_call():
  machine, found = _measure(lambda i: 2e-6)
  assert found.seconds == pytest.approx([2e-6] * len(found.seconds))
  per_batch, rest = divmod(found.calls, len(found.seconds))
  assert rest == 0
  assert per_batch in (500, 501)  # a millisecond, the clock's rounding aside
  assert machine.calls > found.calls


def test_calls_of_a_millisecond_are_not_batched():
  _, found = _measure(lambda i: 1e-3)
  assert found.calls == len(found.seconds)


def test_a_call_beyond_the_budget_is_still_timed_three_times():
  machine, found = _measure(lambda i: 7.0)
  assert found.seconds == pytest.approx([7.0] * 3)
  assert machine.calls == 3  # it has run before, so it is warm


def test_a_short_first_call_is_no_sample():
  _, found = _measure(lambda i: 0.3 if i == 0 else 0.2)
  assert max(found.seconds) == pytest.approx(0.2)


def test_the_budget_bounds_warming_up_and_timing_together():
  # Ever slower: never warm, never precise.
  machine, found = _measure(lambda i: 1e-3 * 0.9 ** (i % 7), budget=0.05)
  assert machine.now <= 0.05 + 2e-3
  assert len(found.seconds) >= 3


def test_a_quiet_kernel_stops_early_and_a_noisy_one_goes_on():
  quiet, _ = _measure(lambda i: 1e-3)
  noisy, found = _measure(lambda i: 1e-3 * (1 + 0.5 * (i % 5)), budget=0.4)
  assert quiet.now < 0.1
  assert noisy.now > 0.3
  assert len(found.seconds) > 100


def test_every_sample_is_kept_outliers_too():
  _, found = _measure(lambda i: 0.5 if i == 10 else 1e-3)
  assert max(found.seconds) == pytest.approx(0.5)
