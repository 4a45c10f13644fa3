"""What fits into a sweep's time and memory."""

import pytest

from lalm.launch import budget
from lalm.launch.budget import Plan, Visits

_CALLS = 5  # one checked, one for memory, three timed


def _plans(*seconds, rest=0.0, compiling=0.0):
  return [
      Plan({"length": i}, str(i), seconds=s, rest=rest, compiling=compiling)
      for i, s in enumerate(seconds)
  ]


def _allot(plans, counts, *arguments):
  """Visits that need not compile."""
  return budget.allot(plans, [Visits(n) for n in counts], *arguments)


def test_a_sweep_with_time_enough_keeps_its_share_and_all_points():
  found = _allot(_plans(0.1, 0.2), [5, 5], 20.0, 2.0)
  assert found == budget.Allotment(2.0, frozenset())


def test_the_share_shrinks_until_the_time_is_just_spent():
  plans = _plans(0.001, 0.001, 1.0)
  found = _allot(plans, [2, 1, 1], 12.0, 5.0)
  assert not found.dropped
  # 3 visits at the share and one that takes its five calls: 3 x + 5 = 12.
  assert found.point_budget == pytest.approx(7 / 3)


def test_the_dearest_points_are_dropped_first_and_no_more_than_needed():
  plans = _plans(1.0, 8.0, 2.0, 4.0)
  for seconds, dropped in (
      (75.0, set()),
      (74.9, {1}),
      (35.0, {1}),
      (34.9, {1, 3}),
      (4.9, {0, 1, 2, 3}),
      (-1.0, {0, 1, 2, 3}),
  ):
    assert _allot(plans, [1] * 4, seconds, 1e-3).dropped == dropped


def test_of_equally_dear_points_the_longest_is_dropped():
  assert _allot(_plans(1.0, 1.0), [1, 1], 5.0, 1.0).dropped == {1}


def test_a_dear_point_is_dropped_before_others_lose_a_fair_share():
  # Nine cheap points with a quarter of their budget, and one of ten seconds.
  plans = _plans(*[0.001] * 9, 2.0)
  for seconds, dropped in ((14.5, set()), (14.4, {9}), (4.5, {9})):
    found = _allot(plans, [1] * 10, seconds, 2.0)
    assert found.dropped == dropped
    assert found.point_budget >= 0.4999


def test_a_point_that_costs_a_few_shares_is_not_given_up_for_a_fair_one():
  plans = _plans(*[0.001] * 9, 0.99)  # its least: 4.95 s, under ten shares
  found = _allot(plans, [1] * 10, 5.1, 2.0)
  assert not found.dropped
  assert found.point_budget < 0.02


def test_what_is_not_to_be_visited_costs_nothing_and_is_not_dropped():
  found = _allot(_plans(1e9, 1.0), [0, 1], 5.0, 5.0)
  assert found == budget.Allotment(5.0, frozenset())


def test_the_rest_of_a_point_counts():
  plans = _plans(1.0, 1.0, rest=1.0)
  assert _allot(plans, [1, 1], 12.0, 1.0).dropped == set()
  assert _allot(plans, [1, 1], 11.9, 1.0).dropped == {1}


def test_compiling_counts_where_it_is_done():
  plans = _plans(1.0, 1.0, compiling=3.0)
  for compiling, least in ((0, 20.0), (1, 23.0), (2, 26.0)):
    visits = [Visits(2, compiling), Visits(2)]
    for seconds, dropped in ((least, set()), (least - 0.1, {1})):
      assert budget.allot(plans, visits, seconds, 1.0).dropped == dropped


@pytest.mark.parametrize("seconds", [0.1, 1.0, 7.0, 33.0, 1e3])
def test_what_is_allotted_never_exceeds_the_time(seconds):
  plans = _plans(*(2.0**-i for i in range(12)), rest=0.01)
  times = [1 + i % 3 for i in range(12)]
  found = _allot(plans, times, seconds, 2.0)
  spent = sum(
      times[i] * max(_CALLS * p.seconds, found.point_budget) + 0.01 * times[i]
      for i, p in enumerate(plans)
      if i not in found.dropped
  )
  slack = sum(times) * budget.SMALLEST_SHARE
  assert spent <= seconds + slack


def test_a_point_may_use_four_fifths_of_the_memory():
  plan = Plan({}, "", bytes=800)
  assert budget.fits_memory(plan, 1000)
  assert not budget.fits_memory(plan, 999)
  assert budget.fits_memory(plan._replace(bytes=None), 1)
  assert budget.fits_memory(plan, None)


def test_the_system_says_how_much_memory_there_is():
  found = budget.available_bytes()
  assert found is None or found > 1 << 20


def test_a_measured_point_is_planned_by_what_it_took():
  plan = Plan({}, "", seconds=9.0)
  record = {"status": "ok", "seconds": [1.0, 100.0, 2.0], "calls": 8}
  for share, calls in ((10.0, 10.0), (18.0, 18.0), (50.0, 20.0)):
    found = budget.updated(plan, record, 30.0, share)
    assert found.seconds == 2.0  # the median, whatever the outlier
    assert found.calls(share) == calls
    assert found.cost(share, Visits(1)) == 30.0  # what it took it will take
  for other in ({"status": "wrong", "seconds": [1.0]}, {"status": "ok"}):
    assert budget.updated(plan, other, 20.0, 1.0) == plan


def test_what_is_run_once_costs_what_it_took():
  # A sequence of 100 s may be the integral of prefixes that took a few.
  plan = Plan({}, "", seconds=9.0, repeats=1)
  assert plan.calls(50.0) == 9.0 and plan.least == 9.0 + budget.REST
  record = {"status": "ok", "seconds": [100.0], "calls": 1}
  found = budget.updated(plan, record, 4.0, 2.0)
  assert found.cost(2.0, Visits(3, 1)) == 3 * 4.0
  assert budget.updated(plan, {"status": "wrong"}, 4.0, 2.0) == plan


def test_a_call_of_many_tokens_is_made_as_often_for_each():
  plan = Plan({}, "", seconds=0.5, rest=1.0, repeats=80)
  assert plan.least == 41.0 and plan.calls(50.0) == 50.0


def test_compiling_and_checking_are_not_planned_for_again():
  plan = Plan({}, "", seconds=9.0, compiling=5.0)
  record = {"status": "ok", "seconds": [1.0], "calls": 1}
  compiled = record | {"compile_seconds": 4.0}
  found = budget.updated(plan, compiled, 10.0, 5.0)
  assert (found.compiling, found.rest) == (4.0, 1.0)
  assert found.cost(5.0, Visits(3, 1)) == 3 * 6.0 + 4.0
  loaded = budget.updated(plan, record | {"compile_seconds": None}, 7.0, 5.0)
  assert (loaded.compiling, loaded.rest) == (5.0, 2.0)
  # A gate of 8 s is not planned for again; drawing inputs for 3 s is.
  checked = budget.updated(plan, compiled | {"once_seconds": 8.0}, 20.0, 5.0)
  assert (checked.compiling, checked.rest) == (4.0, 3.0)
