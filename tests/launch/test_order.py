"""Forms of one point meet in the same process."""

from lalm.launch import order


def _points():
  return [
      {"mechanism": name, "form": form, "length": length}
      for name in ("softmax", "linear")
      for length in range(8)
      for form in ("ours", "theirs", "others")
  ]


def test_forms_of_a_point_are_in_one_group():
  points = _points()
  visited = order.visiting(range(len(points)), 0, 0)
  groups = order.groups(visited, points)
  assert sorted(i for group in groups for i in group) == sorted(visited)
  homes = {}
  for number, group in enumerate(groups):
    for index in group:
      place = points[index]["mechanism"], points[index]["length"]
      homes.setdefault(place, set()).add(number)
  assert all(len(numbers) == 1 for numbers in homes.values())
  assert len(groups) == 4 and {len(group) for group in groups} == {12}


def test_groups_are_in_an_order_drawn_anew():
  points = _points()
  one, other = (
      order.groups(order.visiting(range(len(points)), 0, replicate), points)
      for replicate in (0, 1)
  )
  assert one != other
