"""Tables and figures of distances to softmax say what the records say."""

import pytest

from lalm.report import canvas
from lalm.report import distances
from lalm.report import distances_figure

_ENVIRONMENT = {"slug": "cpu-test"}


def _record(relative, replicate=0, mechanism="window", budget=4, **fields):
  """A record at one sharpness; the kernel of performers is twice as far."""
  sharpness, causal = fields.pop("sharpness", 0.5), fields.pop("causal", False)
  point = {
      "mechanism": mechanism, "form": "chunkwise", "length": 8, "batch": 1,
      "heads": 2, "width": 16, "dtype": "float32", "causal": causal,
      "budget": budget, "sharpness": sharpness,
  }  # fmt: skip
  record = {"point": point, "replicate": replicate, "status": "ok"}
  record |= {"key": f"{mechanism} {budget} {sharpness} {causal}"}
  record |= {"experiment": "attention_error", "reason": "", "mean": 0.5}
  record |= {"versions": {"jax": "1.2.3"}, "started": "1", "budget": budget}
  parts = [0.0, relative, relative, 2 * relative]
  record["distance"] = {
      "relative": relative, "edges": [0, 1, 2, 4, 8], "by_position": parts
  }  # fmt: skip
  if mechanism.startswith("performer"):
    record["kernel"] = 2 * relative
    record["theory"] = {"kernel": 3 * relative, "output": 1.25 * relative}
  return {**record, **fields}


def _sweep(**fields):
  return [
      _record(x / budget, replicate, name, budget, **fields)
      for name in ("window", "performer_independent", "lsh")
      for budget in (4, 16)
      for replicate, x in enumerate((1.0, 0.8, 3.0))
  ]


def _rows(text, name):
  return [row for row in text.splitlines() if row.startswith(f"| {name} ")]


def test_a_number_is_the_median_of_the_draws():
  text = distances.tables(_sweep(), _ENVIRONMENT)
  assert _rows(text, "window") == [
      "| window | distance | 0.5 | 0.5 | 0.25 | 0.062 |"
  ]
  assert _rows(text, "performer_independent") == [
      "| performer_independent | distance | 0.5 | 0.5 | 0.25 | 0.062 |",
      "| performer_independent | theory, output | 0.5 |  | 0.31 | 0.078 |",
      "| performer_independent | kernel | 0.5 |  | 0.5 | 0.12 |",
      "| performer_independent | theory, kernel | 0.5 |  | 0.75 | 0.19 |",
  ]
  assert "n=8, full" in text and "over draws, of 3 workers" in text


def test_what_was_not_measured_says_why():
  failed = _record(
      0, mechanism="nystromformer", budget=16, status="crashed",
      reason="ValueError: landmarks",
  )  # fmt: skip
  text = distances.tables([*_sweep(), failed], _ENVIRONMENT)
  note = (
      "- nystromformer, budget 16, logits 0.5 x: crashed: ValueError: landmarks"
  )
  assert note in text.splitlines()
  assert not _rows(text, "nystromformer")


def test_full_and_causal_have_tables_of_their_own_and_panels_of_one_figure():
  records = _sweep() + _sweep(causal=True, started="2")
  text = distances.tables(records, _ENVIRONMENT)
  assert text.index("causal;") < text.index("full;")
  axes = _axes(records)
  titles = [ax.get_title(loc="left") for ax in axes]
  assert titles == [
      "(a) full, logits 0.5 x",
      "(b) causal, logits 0.5 x",
      "(c) the kernel, full, logits 0.5 x",
      "(d) causal, budget 16, logits 0.5 x",
  ]
  assert [len(_curves(ax)) for ax in axes] == [3, 3, 1, 3]


def _axes(records):
  drawn = []
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(canvas, "render", lambda draw: drawn.append(draw()) or {})
    distances_figure.render(records, _ENVIRONMENT)
  return drawn[0].axes


def _curves(ax):
  return [line for line in ax.lines if line.get_marker() != "None"]


def test_a_curve_is_of_medians_over_the_budget():
  ax = _axes(_sweep())[0]
  (window,) = [x for x in _curves(ax) if x.get_marker() == "X"]
  assert [*window.get_xdata()] == [4, 16]
  assert [*window.get_ydata()] == pytest.approx([1 / 4, 1 / 16])


def test_theory_of_outputs_is_drawn_where_it_is_small():
  axes = _axes(_sweep())
  lines = [
      [x for x in ax.lines if x.get_linestyle() == "--"] for ax in axes[:2]
  ]
  # 1.25 / 16 at 16 features, and 1 / sqrt(m) from there up to 0.3.
  (output,), (kernel,) = lines
  assert [*output.get_ydata()] == pytest.approx([0.15625, 0.078125])
  assert [*output.get_xdata()] == pytest.approx([4, 16])
  steep = [_record(4.0 / m, 0, "performer_independent", m) for m in (4, 64)]
  (output,), _ = (
      [x for x in ax.lines if x.get_linestyle() == "--"]
      for ax in _axes(steep)[:2]
  )
  assert [*output.get_ydata()] == pytest.approx([0.3, 0.078125])
  assert output.get_xdata()[0] == pytest.approx((8 * 0.078125 / 0.3) ** 2)
  assert [*kernel.get_ydata()] == pytest.approx([0.375, 0.1875])


def test_positions_are_the_middles_of_their_rows():
  ax = _axes(_sweep(causal=True))[-1]
  (window,) = [x for x in _curves(ax) if x.get_marker() == "X"]
  assert [*window.get_xdata()] == pytest.approx([2**0.5, 8**0.5, 32**0.5])
  assert [*window.get_ydata()] == pytest.approx([1 / 16, 1 / 16, 2 / 16])


def test_the_same_records_give_the_same_bytes_and_none_give_none():
  found = [distances_figure.render(_sweep(), _ENVIRONMENT) for _ in range(2)]
  assert found[0] == found[1] and tuple(found[0]) == canvas.FORMATS
  assert not distances_figure.render([], _ENVIRONMENT)
  failed = [_record(0, status="crashed")]
  assert not distances_figure.render(failed, _ENVIRONMENT)


def test_a_failure_is_told_with_its_sharpness():
  failed = [
      _record(1.0, status="wrong", reason="far off", sharpness=s)
      for s in (2.0, 8.0)
  ]
  text = distances.tables([*_sweep(), *failed], _ENVIRONMENT)
  assert "- window, budget 4, logits 2 x, 8 x: wrong: far off\n" in text


def test_a_panel_by_position_names_the_budget_it_shows():
  records = [
      *_sweep(causal=True),
      *(_record(0.1, r, budget=4, causal=True, sharpness=2.0) for r in (0, 1)),
  ]
  with canvas.settings():
    (drawn,) = [
        distances_figure._draw(
            records, {False: [], True: distances.series(records)}, {}
        )
    ]
  titles = [axes.get_title(loc="left") for axes in drawn.axes]
  assert any("causal, budget 16, logits 0.5 x" in title for title in titles)
  assert any("causal, budget 4, logits 2 x" in title for title in titles)
