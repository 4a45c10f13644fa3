"""The points of a request: complete, in a fixed order, shared out once."""

import pytest

from lalm.launch import grid
from lalm.launch import schema

_MECHANISMS = {
    "softmax": grid.Mechanism(
        {"parallel": False, "blockwise": True, "step": False},
        ("parallel", "blockwise"),
    ),
    "linear": grid.Mechanism(
        {"parallel": False, "chunkwise": True}, ("chunkwise",)
    ),
}


def _points(**values):
  return grid.points(schema.settle(values), _MECHANISMS)


def _forms(**values):
  points = _points(lengths=(1,), passes="forward", **values)
  return [f"{p['mechanism']}.{p['form']}" for p in points]


def test_the_grid_is_the_product_of_forms_passes_and_lengths_in_order():
  found = [
      (p["mechanism"], p["form"], p["pass"], p["length"])
      for p in _points(lengths=(8, 2))
  ]
  assert found == [
      (mechanism, form, pass_, length)
      for mechanism, form in (
          ("softmax", "parallel"),
          ("softmax", "blockwise"),
          ("linear", "chunkwise"),
      )
      for pass_ in ("forward", "forward_backward")
      for length in (8, 2)
  ]


@pytest.mark.parametrize(
    "asked, found",
    [
        ("", ["softmax.parallel", "softmax.blockwise", "linear.chunkwise"]),
        ("parallel", ["softmax.parallel", "linear.parallel"]),
        ("linear.parallel", ["linear.parallel"]),
        (
            "step,parallel",
            ["softmax.step", "softmax.parallel", "linear.parallel"],
        ),
        ("softmax.parallel,parallel", ["softmax.parallel", "linear.parallel"]),
    ],
)
def test_a_bare_form_is_that_form_of_every_mechanism_that_has_it(asked, found):
  assert _forms(forms=asked) == found


def test_a_form_that_no_mechanism_has_is_refused():
  with pytest.raises(schema.UsageError, match="--config.forms.*recurrent"):
    _forms(forms="parallel,recurrent")


def test_full_attention_has_no_step():
  both = {"step": False, "parallel": False}
  mechanisms = {"own": grid.Mechanism(both, tuple(both))}
  settings = schema.settle({"lengths": (1,), "causal": False})
  assert {p["form"] for p in grid.points(settings, mechanisms)} == {"parallel"}
  with pytest.raises(schema.UsageError, match="--config.forms"):
    _forms(forms="step", causal=False)


def test_only_forms_that_take_a_chunk_get_one():
  chunks = {p["form"]: p["chunk"] for p in _points(chunk=32)}
  assert chunks == {"parallel": None, "blockwise": 32, "chunkwise": 32}
  assert {p["chunk"] for p in _points(chunk=0)} == {None}


def test_sizes_that_have_several_values_are_swept_and_length_is_innermost():
  points = _points(
      forms="softmax.step", passes="forward", lengths=(8, 2), batch="1,3",
      dtype=("float32", "bfloat16"),
  )  # fmt: skip
  assert [(p["batch"], p["dtype"], p["length"]) for p in points] == [
      (batch, dtype, length)
      for batch in (1, 3)
      for dtype in ("float32", "bfloat16")
      for length in (8, 2)
  ]
  assert len({grid.label(point) for point in points}) == len(points)
  assert grid.label(points[0]) == "softmax.step forward n=8"


def test_fields_of_an_experiment_are_swept_if_a_point_holds_them():
  whole = schema.several(schema.whole(1))
  fields = {
      **schema.FIELDS,
      "budgets": schema.Field(whole, (2, 4), "of what", "budget"),
      "draws": schema.Field(schema.whole(1), 3, "of each"),
  }
  settings = schema.settle({"budgets": "8,16", "lengths": 1}, fields)
  points = grid.points(settings, _MECHANISMS, fields)
  assert [p["budget"] for p in points[:4]] == [8, 16] * 2  # two passes
  assert "draws" not in points[0] and settings["draws"] == 3
  assert grid.label(points[0]).endswith("n=1 budget=8")
  assert len({grid.curve(point) for point in points}) == len(points)
  with pytest.raises(schema.UsageError, match="unknown field 'budgets'"):
    schema.settle({"budgets": 1})


def test_a_point_holds_every_field_that_its_measurement_depends_on():
  given = {"width": 3, "batch": 2, "corpus": "normal", "seed": 5}
  settings = schema.settle(given)
  point = grid.points(settings, _MECHANISMS)[0]
  fixed = {"mechanism", "form", "pass", "length", "chunk"}
  shared = set(point) - fixed
  assert shared == {
      "batch",
      "heads",
      "width",
      "value_width",
      "dtype",
      "causal",
      "corpus",
      "seed",
  }
  defaults = {"heads": 8, "value_width": 64, "dtype": "float32"}
  assert {name: point[name] for name in shared} == {
      **given, **defaults, "causal": True
  }  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 3, 7, 50])
def test_the_shares_of_all_workers_are_the_grid_each_point_once(count):
  points = _points()
  shares = [grid.share(points, (i, count)) for i in range(count)]
  together = [p for share in shares for p in share]
  assert sorted(map(str, together)) == sorted(map(str, points))
  assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_points_of_one_curve_differ_in_length_only():
  a, b, c = _points(lengths=(1, 2), forms="softmax.step", passes="forward")[
      :2
  ] + _points(lengths=(1,), forms="softmax.step", passes="forward", heads=2)
  assert grid.curve(a) == grid.curve(b) != grid.curve(c)


_HALVES = {
    "either": grid.Mechanism({"parallel": False}, ("parallel",)),
    "causal": grid.Mechanism({"step": False}, ("step",), full=False),
    "full": grid.Mechanism({"parallel": False}, ("parallel",), causal=False),
}


@pytest.mark.parametrize("causal, other", ((True, "full"), (False, "causal")))
def test_of_all_mechanisms_those_that_cannot_be_causal_or_full_are_left_out(
    causal, other
):
  settings = schema.settle(dict(mechanisms=("all",), causal=causal))
  names = [p["mechanism"] for p in grid.points(settings, _HALVES)]
  assert set(names) == set(_HALVES) - {other}


@pytest.mark.parametrize("causal, other", ((True, "full"), (False, "causal")))
def test_a_mechanism_asked_for_that_cannot_be_causal_or_full_is_refused(
    causal, other
):
  settings = schema.settle(dict(mechanisms=("either", other), causal=causal))
  with pytest.raises(schema.UsageError) as error:
    grid.points(settings, _HALVES)
  kind = "causal" if causal else "full"
  assert f"can be {kind}" in str(error.value) and other in str(error.value)
