"""How far a sweep says it is, and when it will end."""

from lalm.launch import foresight


def _told():
  told = []
  return told, foresight.Foresight(told.append)


def test_visits_are_counted_against_those_expected():
  told, seen = _told()
  seen.expect(3)
  seen.hear("half of it")
  seen.visited("a")
  seen.expect(4)  # more than was thought
  seen.visited("b")
  assert [x[:2] for x in told] == [(0, 3), (1, 3), (2, 5)]
  assert [x.point for x in told] == ["half of it", "a", "b"]


def test_the_time_left_is_until_the_end_foreseen(monkeypatch):
  clock = [100.0]
  monkeypatch.setattr(foresight.time, "monotonic", lambda: clock[0])
  told, seen = _told()
  seen.expect(2)
  seen.ends_in(30.0)
  clock[0] += 10.0
  seen.hear("a")
  seen.ends_in(50.0)
  seen.visited("a")
  clock[0] += 60.0  # it takes longer than was thought
  seen.hear("b")
  assert [x.seconds_left for x in told] == [20.0, 50.0, 0.0]


def test_more_than_expected_is_never_beyond_the_total():
  told, seen = _told()
  seen.hear("a")
  seen.visited("a")
  assert [x[:2] for x in told] == [(0, 1), (1, 1)]


def test_the_end_is_told_where_fewer_were_visited():
  told, seen = _told()
  seen.over()  # nothing was visited, and nothing shown
  seen.expect(5)
  seen.visited("a")
  seen.over()
  assert [x[:2] for x in told] == [(1, 5), (1, 1)]
  assert told[-1].seconds_left == 0
  seen.expect(0)
  seen.visited("b")
  seen.over()
  assert len(told) == 3  # the last report was the end
