"""Tokens a second of many sequences at once, from hand-made records."""

import pytest

from lalm.report import canvas, throughput, throughput_figure

_POINT = {
    "mechanism": "linear", "form": "decode", "pass": "step", "length": 1024,
    "batch": 1, "heads": 8, "width": 64, "value_width": 64, "tokens": 16,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip


def _record(seconds, replicate=0, status="ok", **point):
  point = {**_POINT, **point}
  return {
      "key": "-".join(str(point[name]) for name in sorted(point)),
      "replicate": replicate, "status": status, "point": point,
      "experiment": "decode_latency", "machine": "m", "device": "cpu",
      "versions": {"jax": "1"}, "started": f"2026-01-0{replicate + 1}",
      "seconds": [seconds], "state_bytes": 2048 * point["batch"],
  }  # fmt: skip


_RECORDS = [
    *(_record(s, r) for r, s in enumerate((0.1, 0.2, 0.4))),
    *(_record(s, r, batch=8) for r, s in enumerate((0.2, 0.2, 0.2))),
    _record(0.5, batch=8, mechanism="softmax"),
    _record(0.5, mechanism="softmax", status="crashed"),
    _record(9.0, batch=64, **{"pass": "prefill"}),
]


def test_a_line_is_a_mechanism_and_a_number_its_median_over_workers():
  (setting,) = throughput.settings(_RECORDS, {"slug": "here"})
  assert setting.batches == [1, 8]
  linear, softmax = setting.lines
  assert linear.rates == {1: (10.0, 5.0, 2.5), 8: (40.0, 40.0, 40.0)}
  assert softmax.rates == {8: (16.0,)} and softmax.state_bytes == 2048
  text = throughput.markdown([setting])
  assert "| mechanism | B=1 | B=8 | a state |" in text
  assert "| linear | 5 | 40 | 2.00 KiB |" in text
  assert "| softmax |  | 16 | 2.00 KiB |" in text
  assert "1,024 tokens, 16 steps a scan; 3 workers" in text
  assert "B=1," not in text
  assert "\n- softmax, B=1: crashed\n" in text


def test_one_batch_is_no_setting_and_contexts_stand_apart():
  assert not throughput.settings(_RECORDS[:3], {})
  longer = [
      _record(0.1, length=2048, batch=b, mechanism="window") for b in (2, 4)
  ]
  found = throughput.settings([*_RECORDS, *longer], {})
  assert sorted(len(setting.lines) for setting in found) == [1, 2]


def test_the_figure_is_the_same_bytes_for_the_same_records():
  (setting,) = throughput.settings(_RECORDS, {"slug": "here"})
  first, second = (throughput_figure.render(setting) for _ in range(2))
  assert first == second and set(first) == {"svg", "pdf", "png"}


@pytest.mark.parametrize("ends", [(5.0, 5.0, 5.0), (1.0, 1.01, 900.0)])
def test_names_beside_lines_do_not_overlap(ends):
  records = [
      _record(b / end, batch=b, mechanism=f"m{i}")
      for i, end in enumerate(ends)
      for b in (1, 2)
  ]
  (setting,) = throughput.settings(records, {})
  with canvas.settings():
    figure = throughput_figure.draw(setting)
    renderer = figure.canvas.get_renderer()
    names = [t for t in figure.axes[0].texts if t.get_text().startswith("m")]
    boxes = [text.get_window_extent(renderer) for text in names]
  assert len(boxes) == 3
  for i, box in enumerate(boxes):
    assert not any(box.overlaps(other) for other in boxes[:i])


def test_a_long_heading_is_wrapped_within_the_figure():
  (setting,) = throughput.settings(_RECORDS, {"slug": "here"})
  long = setting._replace(heading="a heading of many words " * 12)
  with canvas.settings():
    figure = throughput_figure.draw(long)
    box = figure.texts[0].get_window_extent(figure.canvas.get_renderer())
    axes = figure.axes[0].xaxis.label.get_window_extent()
  assert box.x1 <= figure.bbox.x1 and box.y0 >= 0
  assert not box.overlaps(axes)
