"""Table and figure of longest contexts, from hand-made records."""

from lalm.report import canvas
from lalm.report import longest
from lalm.report import longest_figure

_POINT = {
    "mechanism": "linear", "form": "chunkwise", "pass": "forward",
    "length": 32768, "batch": 1, "heads": 8, "width": 64, "value_width": 64,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip


def _record(tokens, machine="h100", status="ok", **point):
  point = {**_POINT, **point}
  return {
      "key": "-".join([machine, *(str(point[n]) for n in sorted(point))]),
      "replicate": 0, "status": status, "reason": "", "point": point,
      "experiment": "longest_context", "machine": machine, "started": "2026",
      "provenance": "compiled", "versions": {"jax": "1"},
      "longest": {"length": tokens, "fails": tokens + 1, "compiles": 5},
      "estimate": {"roofline_seconds": 2e-3},
  }  # fmt: skip


_RECORDS = [
    _record(2_000_000),
    _record(900_000, **{"pass": "forward_backward"}),
    _record(16_000_000, machine="h100x8"),
    _record(40_000, mechanism="softmax", form="parallel"),
    _record(0, "h100x8", "out_of_memory", mechanism="softmax", form="parallel"),
    {**_record(5), "experiment": "another"},
]


def test_a_row_is_a_form_and_a_column_a_machine():
  (setting,) = longest.settings(_RECORDS)
  assert setting.machines == ("h100", "h100x8")
  text = longest.markdown([setting])
  assert "| form | pass | h100 | h100x8 |" in text
  assert (
      "| linear.chunkwise | forward | 2,000,000 (2.00 ms) | 16,000,000 (2.00"
      " ms) |" in text
  )
  assert "| softmax.parallel | forward | 40,000 (2.00 ms) |  |" in text
  assert "- softmax.parallel, forward, h100x8: out_of_memory" in text
  assert "compiled, not run" in text.splitlines()[0]


def test_what_the_partitioner_splits_is_marked():
  (setting,) = longest.settings(_RECORDS)
  assert "*" not in longest.markdown([setting]).replace("**", "")
  records = [_record(1000), _record(900, machine="h100x8")]
  records[1]["sharding"] = "partitioner"
  (setting,) = longest.settings(records)
  text = longest.markdown([setting])
  assert "| 1,000 (2.00 ms) | 900* (2.00 ms) |" in text
  assert "- *: a sequence that XLA's partitioner splits as it likes" in text


def test_the_setting_of_most_forms_is_the_first():
  full = [_record(5, mechanism="linformer", causal=False)]
  causal, other = longest.settings([*full, *_RECORDS])
  assert len(causal.lines) > len(other.lines) == 1
  assert "full" in other.heading and "causal" in causal.heading


def test_a_length_that_is_not_known_closely_has_its_bracket():
  records = [_record(n, machine=m) for n, m in ((1000, "h100"), (50, "v5e"))]
  for record, fails in zip(records, (1021, 51)):
    record["longest"]["fails"] = fails
  records.append(_record(2**30, machine="v5p"))
  records[-1]["longest"]["fails"] = None
  (setting,) = longest.settings(records)
  row = "| 1,000 < 1,021 (2.00 ms) | 50 (2.00 ms) | 1,073,741,824 (2.00 ms) |"
  assert row in longest.markdown([setting])


def test_other_sizes_stand_apart():
  wide = _record(7, width=128)
  assert len(longest.settings([*_RECORDS, wide])) == 2


def test_every_mark_is_where_its_record_says():
  (setting,) = longest.settings(_RECORDS)
  with canvas.settings():
    figure = longest_figure.draw(setting)
  first, second = figure.axes
  drawn = {float(line.get_xdata()[0]) for line in first.get_lines()}
  assert drawn == {2_000_000, 16_000_000, 40_000}
  assert [line.get_xdata()[0] for line in second.get_lines()] == [900_000]
  names = [tick.get_text() for tick in first.get_yticklabels()]
  assert names == ["softmax.parallel", "linear.chunkwise"]
  once, again = (longest_figure.render(setting) for _ in range(2))
  assert once == again and set(once) == {"svg", "pdf", "png"}


def test_the_table_is_of_all_machines_of_a_folder(tmp_path, capsys):
  from lalm import store

  for record in _RECORDS:
    folder = tmp_path / record["machine"]
    store.append(folder / "records.jsonl", record)
  longest.publish(tmp_path)
  assert "16,000,000" in (tmp_path / "table.md").read_text()
  assert (tmp_path / "figures" / "longest.png").stat().st_size > 1000
  assert "longest context" in capsys.readouterr().out
