"""Tables and the figure of training runs, from hand-made records."""

import json

import numpy as np

from lalm import store
from lalm.report import canvas
from lalm.report import learning
from lalm.report import learning_figure

_POINT = {
    "mechanism": "linear", "form": "training", "pass": "forward_backward",
    "length": 128, "batch": 32, "heads": 4, "width": 32, "value_width": 32,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
    "layers": 2, "steps": 300, "rounds": 3, "rate": 1e-3, "drop": 200,
}  # fmt: skip


def _record(replicate, losses, status="ok", experiment="copy_task", **point):
  point = {**_POINT, **point}
  seconds = [10.0 * (i + 1) for i in range(len(losses))]
  steps = [100 * (i + 1) for i in range(len(losses))]
  judged = [
      {"step": a, "seconds": b, "loss": x, "accuracy": 1 - (x or 0) / 2,
       "bits_per_byte": x and x / 2}
      for a, b, x in zip(steps, seconds, losses)
  ]  # fmt: skip
  return {
      "key": json.dumps(point, sort_keys=True), "replicate": replicate,
      "status": status, "reason": "why" if status != "ok" else "",
      "point": point, "experiment": experiment, "machine": "m",
      "started": "2026", "provenance": "measured", "versions": {"jax": "1"},
      "seconds": [seconds[-1]], "calls": 300, "parameters": 12345,
      "utilisation": 0.25, "judged": judged,
      "curve": [list(x) for x in zip(steps, seconds, losses)],
  }  # fmt: skip


_RECORDS = [
    _record(0, [2.0, 0.09, 0.01]),
    _record(1, [2.0, 0.5, 0.02]),
    _record(2, [2.0, 0.3, 0.03]),
    _record(0, [2.0, 1.0, 0.08], mechanism="softmax"),
    _record(1, [2.0, 1.0, 0.4], mechanism="softmax"),
    _record(0, [2.0, 1.5, 1.2], mechanism="lsh"),
    _record(0, [2.0], "crashed", mechanism="gla"),
]


def test_a_row_is_a_mixer_the_best_first():
  text = learning.tables(_RECORDS, {"slug": "here"})
  rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
  rows = [row for row in rows if not row.startswith("| ---")]
  assert [row.split(" | ")[0] for row in rows] == [
      "| linear", "| softmax", "| lsh",
  ]  # fmt: skip
  assert (
      "| linear | 0.001 | 0.020 [0.010, 0.030] | 99 % | 300 [200, 300] |"
      in (rows[0])
  )
  assert "| 0.240 (2 seeds) |" in rows[1] and "| 300 (1 of 2) |" in rows[1]
  assert "| 1.200 (1 seed) |" in rows[2] and "| never |" in rows[2]
  assert "| 100 ms | 25 % | 12,345 |" in rows[0]
  assert "- gla, 0.001: crashed: why" in text
  assert "2 layers, n=128, 300 steps" in text.splitlines()[0]


_LANGUAGE = [
    _record(0, [2.0, 1.0, 0.5], experiment="train_lm"),
    _record(0, [2.0, 1.6], experiment="train_lm", mechanism="softmax"),
]
_LANGUAGE[1]["judged"][1]["seconds"] = _LANGUAGE[1]["seconds"][0] = 25.0
for record in _LANGUAGE:
  record |= {"by_position": [2.0, 1.0], "sample": "def f():\n  return `1`"}


def test_a_language_model_is_judged_in_bits_and_after_equal_time():
  text = learning.tables(_LANGUAGE, {})
  head = "| mixer | rate | bits a byte | bits a byte after 25.0 s |"
  assert head in text
  assert "| 0.250 (1 seed) | 0.375 (1 seed) | 0.500 (1 seed) |" in text
  assert "| 0.800 (1 seed) | 0.800 (1 seed) | 1.600 (1 seed) |" in text
  assert (
      "some held out, by softmax, 0.001:\n\n    def f():\n      return `1`"
      in text
  )


def test_its_figure_has_a_panel_by_position():
  found = learning.learners(_LANGUAGE)
  with canvas.settings():
    drawn = learning_figure.draw(found, "train_lm", "here")
  by_steps, _, by_position = drawn.axes
  assert list(by_steps.get_lines()[0].get_ydata()) == [1.0, 0.5, 0.25]
  assert "4,096 tokens" in by_steps.get_xlabel()
  first = by_position.get_lines()[0]
  assert list(first.get_xdata()) == [32, 96]
  assert list(first.get_ydata()) == [2.0, 1.0]


def test_a_run_that_diverged_is_told_and_drawn():
  records = [_record(0, [2.0, None, None]), _record(0, [2.0, 1.0, 0.5], rate=1)]
  for record in records:
    record["judged"][-1]["accuracy"] = 0.5
  found = learning.learners(records)
  assert [one.rate for one in found] == [1, 1e-3]
  assert "| inf (1 seed) | 50 % | never |" in learning.tables(records, {})
  assert learning_figure.render(found, "copy_task", "here")["svg"]


def test_a_seed_that_diverged_is_drawn_as_the_table_counts_it():
  for order in ((None, 1.0, 2.0), (1.0, None, 2.0), (1.0, 2.0, None)):
    records = [_record(i, [3.0, x]) for i, x in enumerate(order)]
    with canvas.settings():
      drawn = learning_figure.draw(learning.learners(records), "copy_task", "")
    (line,) = drawn.axes[0].get_lines()
    assert list(line.get_ydata()) == [3.0, 2.0]


def test_positions_of_unequal_parts_are_at_their_middles():
  record = _LANGUAGE[0] | {
      "by_position": [1.0] * 16,
      "point": {**_POINT, "length": 24},
  }
  places = [x for x, _ in learning_figure._by_position(record)]
  parts = np.array_split(np.arange(24), 16)
  assert places == [(part[0] + part[-1] + 1) / 2 for part in parts]


def test_steps_that_were_skipped_are_told():
  text = learning.tables([_record(0, [2.0, 1.0]) | {"skipped": 7}], {})
  assert "- linear, 0.001: 7 of 300 steps skipped" in text
  assert "skipped" not in learning.tables(_RECORDS, {})


def test_settings_are_told_apart_by_their_heading():
  records = [_record(0, [2.0, 1.0]), _record(0, [2.0, 1.0], drop=100)]
  records += [_record(0, [2.0, 1.0], layers=1, vocabulary=300)]
  text = learning.tables(records, {})
  heads = [line for line in text.splitlines() if line.startswith("**")]
  assert len(set(heads)) == 3 and sum("1 layer," in x for x in heads) == 1
  assert sum("a tenth of the rate from 100 on" in x for x in heads) == 1
  assert sum("a vocabulary of 300" in x for x in heads) == 1


def test_where_all_has_failed_no_time_is_told():
  failed = _record(0, [2.0], "crashed", experiment="train_lm")
  assert "after" not in learning.tables([failed], {}).splitlines()[2]


def test_a_run_trained_by_another_process_has_no_share_of_its_rate():
  record = _record(0, [2.0, 1.0, 0.5]) | {"utilisation": None}
  text = learning.tables([record], {})
  assert "| 100 ms |  | 12,345 |" in text


def test_rates_are_runs_of_their_own():
  records = [*_RECORDS[:3], _record(0, [2.0, 1.0, 0.9], rate=3e-3)]
  assert [(x.rate, len(x.records)) for x in learning.learners(records)] == [
      (1e-3, 3), (3e-3, 1),
  ]  # fmt: skip


def test_the_figure_has_a_line_a_mixer_by_steps_and_by_time():
  found = learning.learners(_RECORDS)
  with canvas.settings():
    drawn = learning_figure.draw(found, "copy_task", "here")
  by_steps, by_time = drawn.axes
  labels = [line.get_label() for line in by_steps.get_lines()]
  assert labels == ["linear", "softmax", "lsh"]
  assert list(by_steps.get_lines()[0].get_xdata()) == [100, 200, 300]
  assert list(by_time.get_lines()[0].get_xdata()) == [10, 20, 30]
  assert list(by_steps.get_lines()[0].get_ydata()) == [2.0, 0.3, 0.02]
  assert by_steps.get_yscale() == "log"
  words = [label.get_text() for label in by_steps.get_yticklabels()]
  assert "0.1" in words and not any("$" in word for word in words)


def test_files_are_written_beside_the_records(tmp_path):
  from lalm import store

  for record in _RECORDS:
    store.append(tmp_path / "records.jsonl", record)
  (tmp_path / "environment.json").write_text('{"slug": "here"}')
  learning.publish(tmp_path)
  names = sorted(p.name for p in tmp_path.rglob("*.*") if p.is_file())
  assert [n for n in names if n.startswith("learning")] == [
      "learning.pdf", "learning.png", "learning.svg",
  ]  # fmt: skip
  assert "linear" in (tmp_path / "table.md").read_text()


def test_each_setting_has_a_figure_and_what_failed_has_none(tmp_path, capsys):
  records = [*_RECORDS, _record(0, [2.0, 1.0, 0.9], layers=4)]
  records.append(_record(0, [2.0], "crashed", layers=8))
  for record in records:
    store.append(tmp_path / "records.jsonl", record)
  (tmp_path / "environment.json").write_text('{"slug": "here"}')
  learning.publish(tmp_path)
  drawn = {path.name for path in (tmp_path / "figures").glob("*.svg")}
  assert drawn == {"learning.svg", "learning_2.svg"}
  said = capsys.readouterr().out
  assert "4 layers" in said and said.count("figure: ") == 1
