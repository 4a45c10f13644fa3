"""The figure shows every curve, covers nothing, and is the same every time."""

import functools
import itertools
import math
import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np
import pytest
from matplotlib import text as mpl_text

from lalm.report import (
    figure,
    layout,
    margins,
    panels,
    points,
    rendering,
    results,
    scales,
    style,
)
from tests.oracles import synthetic

ROOT = pathlib.Path(__file__).parents[2]
MECHANISMS = (
    "softmax",
    "linear",
    "retnet",
    "gla",
    "delta",
    "mamba",
    "own:Mine",
)
MANY = [(m, f) for m in MECHANISMS for f in ("parallel", "chunkwise", "step")]


def drawn(records, fits=(), crossovers=()):
  """(group, figure) of records of one machine and setting."""
  (group,) = results.grouped(records, fits, crossovers)
  with rendering.settings():
    image = figure.draw(group, {"machine": synthetic.MACHINE, "cores": 2})
    image.canvas.draw()
  return group, image


def failing(records, form, lengths, status="out_of_memory"):
  """The records, those of a form at these lengths replaced by failures."""
  return [
      synthetic.record(
          record["point"]["mechanism"],
          form,
          record["point"]["pass"],
          record["point"]["length"],
          record["replicate"],
          status,
          "why",
      )
      if record["point"]["form"] == form
      and record["point"]["length"] in lengths
      else record
      for record in records
  ]


CASES = {
    "default": lambda: (
        failing(synthetic.sweep(), "parallel", (4096, 8192)),
        synthetic.all_fits(),
        [
            synthetic.crossover("forward"),
            synthetic.crossover("forward_backward", 910.0),
        ],
    ),
    "two curves": lambda: (
        synthetic.sweep(kernels=list(synthetic.KERNELS)[1:]),
        synthetic.all_fits(kernels=list(synthetic.KERNELS)[1:]),
        [synthetic.crossover("forward", 300.0)],
    ),
    "twenty curves": lambda: (
        failing(synthetic.sweep(kernels=MANY[:20]), "step", (8192,)),
        synthetic.all_fits(kernels=MANY[:20]),
        [],
    ),
    "eight lengths": lambda: (
        synthetic.sweep(lengths=[2**i for i in range(9, 17)]),
        synthetic.all_fits(lengths=[2**i for i in range(9, 17)]),
        [
            synthetic.crossover("forward", 40000.0),
            synthetic.crossover("forward", 44000.0),
            synthetic.crossover("forward", 700.0),
        ],
    ),
    "one pass": lambda: (
        synthetic.sweep(passes=("forward",)),
        synthetic.all_fits(passes=("forward",)),
        [
            synthetic.crossover("forward"),
            synthetic.crossover("forward", 690.0) | {"a": "softmax.parallel"},
        ],
    ),
    "no laws": lambda: (synthetic.sweep(),),
    "one length": lambda: (synthetic.sweep(lengths=(1024,)),),
    "one worker": lambda: (synthetic.sweep(replicates=1),),
    "odd lengths": lambda: (synthetic.sweep(lengths=(100, 105, 1000, 3001)),),
    "nothing measured": lambda: (
        failing(
            synthetic.sweep(kernels=MANY[:1]), "parallel", synthetic.LENGTHS
        ),
    ),
}


@functools.cache
def drawn_case(case):
  """(group, figure) of a case, drawn once."""
  return drawn(*CASES[case]())


@pytest.mark.parametrize("case", CASES)
def test_no_text_touches_another_or_leaves_the_figure(case):
  _, image = drawn_case(case)
  renderer = image.canvas.get_renderer()
  boxes = []
  for item in image.findobj(mpl_text.Text):
    if item.get_visible() and item.get_text().strip():
      boxes.append((item.get_text(), item.get_window_extent(renderer)))
  width, height = image.canvas.get_width_height()
  for words, box in boxes:
    assert box.x0 >= 0 and box.x1 <= width, words
    assert box.y0 >= 0 and box.y1 <= height, words
  for (one, a), (other, b) in itertools.combinations(boxes, 2):
    across = min(a.x1, b.x1) - max(a.x0, b.x0)
    along = min(a.y1, b.y1) - max(a.y0, b.y0)
    # A box is as high as the tallest letter: 2 pixels may be shared.
    assert across <= 0 or along <= 2, (one, other)


@pytest.mark.parametrize("case", CASES)
def test_every_curve_is_drawn_where_the_records_say(case):
  records = CASES[case]()[0]
  group, image = drawn_case(case)
  names = [words.get_text() for words in image.legends[0].get_texts()]
  wanted = {
      f"{r['point']['mechanism'].split(':')[-1]}.{r['point']['form']}"
      for r in records
  }
  assert set(names) == wanted and len(names) == len(wanted)
  looks = style.looks(group.curves)
  assert len(set(looks.values())) == len(group.curves)
  for quantity in ("time", "memory"):
    for pass_ in group.passes():
      for curve in group.curves:
        expected = medians(records, curve, pass_, quantity)
        if expected:
          assert has_points(image, looks[curve], expected), (curve, quantity)


def medians(records, curve, pass_, quantity) -> dict[int, float]:
  """Length -> median over workers, straight from the records."""
  values: dict[int, list[float]] = {}
  for record in records:
    point = record["point"]
    place = (point["mechanism"], point["form"], point["pass"])
    if (
        place == (curve.mechanism, curve.form, pass_)
        and record["status"] == "ok"
    ):
      value = record["memory"]["peak_bytes"]
      if quantity == "time":
        value = statistics.median(record["seconds"])
      values.setdefault(point["length"], []).append(value)
  return {n: statistics.median(found) for n, found in sorted(values.items())}


def has_points(image, look, expected) -> bool:
  """Whether some axes hold these points in this look."""
  for ax in image.axes:
    for line in ax.lines:
      same = (line.get_color(), line.get_marker()) == (look.colour, look.marker)
      x, y = line.get_data()
      if same and len(x) == len(expected) and np.array_equal(x, list(expected)):
        if np.allclose(y, list(expected.values()), rtol=1e-12):
          return True
  return False


def test_a_law_is_drawn_as_its_terms_say():
  terms = {"1": 1e-3, "n": 2e-6, "n log n": 3e-7, "n^2": 4e-10}
  law = {"terms": terms}
  for n in (256, 1000.5, 8192):
    value = 1e-3 + 2e-6 * n + 3e-7 * n * math.log(n) + 4e-10 * n * n
    assert panels.law_value(law, n) == pytest.approx(value, rel=1e-12)
  assert panels.law_value({"terms": None}, 256) is None
  assert panels.law_value({"terms": {"n^3": 1.0}}, 256) is None


@pytest.mark.parametrize("case", [c for c in CASES if c != "nothing measured"])
def test_guide_slopes_rise_by_one_and_two_above_all_data(case):
  _, image = drawn_case(case)
  ax = image.axes[0]
  guides = [line for line in ax.lines if line.get_color() == style.GUIDE]
  slopes = []
  for line in guides:
    x, y = (np.log(np.asarray(data, float)) for data in line.get_data())
    slopes.append((y[1] - y[0]) / (x[1] - x[0]))
    assert max(line.get_data()[1]) < ax.get_ylim()[1]
  assert slopes == pytest.approx([1.0, 2.0])
  others = [line for line in ax.lines if line.get_marker() not in ("", "None")]
  for guide in guides:
    (start, stop), (low, _) = guide.get_data()
    for line in others:
      if line.get_transform() == ax.transData:
        for x, y in zip(*line.get_data(), strict=True):
          assert not start <= x <= stop or y < low


@pytest.mark.parametrize("slope", [-1.0, 0.0, 1.0, 2.0])
@pytest.mark.parametrize("labels", [0, 1, 3])
def test_an_axis_leaves_room_for_guides_and_labels(slope, labels):
  lengths = (256, 512, 1024, 2048, 4096, 8192)
  frame = scales.Frame(2.4, 2.4, lengths)
  values = [1e-3 * (n / 256) ** slope for n in lengths]
  shown = [
      points.Spread(n, value, 0.9 * value, 1.1 * value, True)
      for n, value in zip(lengths, values, strict=True)
  ]
  bottom, top = scales.room(shown, labels, frame)
  inch = math.log10(top / bottom) / frame.height  # decades
  foot = math.log10(min(values) / bottom) / inch
  assert foot >= scales.ROW * labels
  assert math.log10(top / max(values)) / inch > 0
  start, stop = scales.guide_span(frame)
  base = math.log10(top) - 2 * math.log10(stop / start)
  near = [s.high for s in shown if s.length <= stop]
  assert base - 0.06 * inch > math.log10(max(near))


def test_letters_mark_each_point_that_has_no_time():
  _, image = drawn_case("default")
  letters = [
      (words.get_text(), words.get_position()[0])
      for ax in image.axes
      for words in ax.texts
      if words.get_text() in margins.LETTERS.values()
  ]
  assert sorted(letters) == [("M", 4096), ("M", 4096), ("M", 8192), ("M", 8192)]
  caption = image.texts[-1].get_text()
  assert "out of memory" in caption.replace("\u00a0", " ")


def test_a_crossover_is_ringed_where_the_curves_are_and_named():
  _, image = drawn_case("default")
  ax = image.axes[0]
  rings = [line for line in ax.lines if line.get_markerfacecolor() == "none"]
  (ring,) = [line for line in rings if line.get_marker() == "o"]
  (x,), (y,) = ring.get_data()
  assert x == 739.0
  low, high = (
      medians(
          synthetic.sweep(),
          results.Curve("softmax", "blockwise"),
          "forward",
          "time",
      )[n]
      for n in (512, 1024)
  )
  assert low < y < high
  named = [words.get_text() for words in ax.texts]
  assert "n* = 739 [665, 828]" in named


def test_the_caption_names_device_versions_setting_and_workers():
  _, image = drawn_case("default")
  caption = image.texts[-1].get_text().replace("\u00a0", " ").replace("\n", " ")
  for words in (
      "cpu (2 cores), machine 0123456789ab",
      "jax 0.10.2, jaxlib 0.10.2, numpy 2.4.6, python 3.11.7",
      "float32, B = 1, H = 8, d = 64, causal",
      "median over 5 workers",
      "95 % intervals over workers",
  ):
    assert words in caption


def test_local_slopes_without_laws_are_those_of_the_medians():
  (group,) = results.grouped(synthetic.sweep())
  curve = results.Curve("softmax", "parallel")
  expected = medians(synthetic.sweep(), curve, "forward", "time")
  lengths = list(expected)
  found = panels.local_slopes(group, curve, "forward")
  assert len(found) == len(lengths) - 1
  for (length, slope, bounds), a, b in zip(
      found, lengths, lengths[1:], strict=False
  ):
    assert a < length < b and bounds is None
    assert (b / a) ** slope == pytest.approx(expected[b] / expected[a])


def test_missing_memory_or_slopes_leave_their_panel_out():
  records = synthetic.sweep(passes=("forward",), replicates=1)
  for record in records:
    record.pop("memory")
  (group,) = results.grouped(records)
  looks = style.looks(group.curves)
  placed, _ = layout.arrange(group, looks, 1.0, 0.0)
  assert [panel.quantity for panel in placed] == ["time", "slope"]
  (group,) = results.grouped(records[:1])
  placed, _ = layout.arrange(group, looks, 1.0, 0.0)
  assert [panel.quantity for panel in placed] == ["time"]


def test_places_are_apart_and_inside_whatever_was_wanted():
  for wanted in ([0.0] * 5, [1.0] * 5, [0.1, 0.11, 0.5, 0.99, 1.0]):
    places = margins.spread_out(wanted, 0.1, 1.0)
    gaps = [b - a for a, b in zip(places, places[1:], strict=False)]
    assert min(gaps) >= 0.1 - 1e-12
    assert 0.05 - 1e-12 <= places[0] and places[-1] <= 0.95 + 1e-12


@pytest.mark.parametrize("low, high", [(3e-6, 1e-5), (1e-4, 30.0), (0.9, 3.0)])
def test_an_axis_of_time_has_at_least_two_ticks_inside(low, high):
  ticks, write = scales.value_ticks((low, high), "time")
  assert len(ticks) >= 2 and all(low <= tick <= high for tick in ticks)
  assert len({write(tick) for tick in ticks}) == len(ticks)


def test_the_same_records_give_the_same_bytes_in_any_process(tmp_path):
  """Another hash seed, time zone, locale and matplotlibrc change nothing."""
  hostile = tmp_path / "matplotlibrc"
  hostile.write_text(
      "font.size: 20\nfont.family: serif\naxes.grid: True\n"
      "lines.linewidth: 9\nsavefig.bbox: tight\nsvg.fonttype: none\n"
      "axes.prop_cycle: cycler('color', ['r'])\npdf.compression: 0\n"
  )
  settings = [
      {"PYTHONHASHSEED": "1", "TZ": "UTC"},
      {
          "PYTHONHASHSEED": "2",
          "TZ": "Asia/Tokyo",
          "MATPLOTLIBRC": str(hostile),
          "SOURCE_DATE_EPOCH": "1000000000",
          "MPLBACKEND": "svg",
      },
  ]
  files = CASES["default"]()
  written = []
  for number, variables in enumerate(settings):
    folder = synthetic.write(tmp_path / str(number) / "cpu", *files)
    subprocess.run(
        [sys.executable, "-m", "lalm.report", str(folder)],
        cwd=ROOT,
        env=os.environ | variables,
        check=True,
        capture_output=True,
        timeout=300,
    )
    written.append(
        {
            path.relative_to(folder): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    )
  assert {path.suffix for path in written[0]} >= {".svg", ".pdf", ".png", ".md"}
  assert written[0].keys() == written[1].keys()
  different = [str(p) for p in written[0] if written[0][p] != written[1][p]]
  assert not different
