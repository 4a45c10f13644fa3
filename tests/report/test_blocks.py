"""The table and the figure of blocks say what the records say."""

import json

from matplotlib import figure as mpl_figure
import pytest

from lalm import store
from lalm.report import blocks
from lalm.report import blocks_figure
from lalm.report import blocks_pictures
from lalm.report import build
from lalm.report import readme
from lalm.report import results

_STATES = {
    "softmax": "none: all keys are kept",
    "linear": "identity",
    "kda": "vector, identity plus rank one",
    "mamba2": "scalar",
    "loglinear": "a scalar for each level",
    "linformer": "none: all keys are mixed to a few",
    "mean": "",
}


def _record(mechanism, length=8, replicate=0, rank=2, bound=2, **fields):
  """A record of two heads; the second has a rank less at the first cut."""
  point = {
      "mechanism": mechanism, "form": "matrix", "length": length, "batch": 1,
      "heads": 2, "width": 2, "dtype": "float64", "causal": True, "window": 4,
      "horizon": 64,
  }  # fmt: skip
  half = {"effective_rank": 1.5 + replicate, "stable_rank": 1.2}
  head = {"ranks": [rank - 1, rank - 1, rank], "practical_ranks": [1, 1, 1]}
  head |= {"middle": half, "whole": half, "values": [4.0, 0.5]}
  found = {
      "transition": _STATES[mechanism], "bound": "F" if bound else "none",
      "cuts": [length // 4, length // 2, 3 * length // 4],
      "bounds": [bound] * 3, "practical": 1e-3,
      "heads": [head, {**head, "ranks": [0, rank, rank]}],
      "picture": [[0.0, None], [-1.0, 0.5]],
  }  # fmt: skip
  point |= fields.pop("point", {})
  record = {"point": point, "replicate": replicate, "status": "ok"}
  record |= {"key": f"{mechanism}{length}", "experiment": "block_structure"}
  record |= {"versions": {"jax": "1.2.3"}, "started": "1", "reason": ""}
  return {**record, "blocks": found, **fields}


def _sweep():
  """Three lengths and workers; softmax's ranks double with the length."""
  records = [
      _record(mechanism, length, replicate)
      for mechanism in ("linear", "kda", "mamba2")
      for length in (8, 16, 32)
      for replicate in range(3)
  ]
  records += [_record("softmax", n, 0, n // 2, None) for n in (8, 16, 32)]
  failed = {"status": "over_budget", "reason": "too long"}
  records += [_record("softmax", 64, **failed)]
  full = {"causal": False}
  return records + [_record("linformer", n, point=full) for n in (8, 16, 32)]


def test_a_family_is_what_a_transition_says():
  found = {name: blocks.curves([_record(name)])[0].family for name in _STATES}
  assert found == {
      "softmax": "all keys", "linear": "features", "kda": "delta rule",
      "mamba2": "decay", "loglinear": "hierarchy", "linformer": "few keys",
      "mean": "other",
  }  # fmt: skip


def test_every_family_has_a_colour_of_its_own():
  colours = blocks_figure.style.FAMILIES
  assert set(colours) == set(blocks.FAMILIES)
  assert len(set(colours.values())) == len(colours)


def test_numbers_are_medians_over_workers_of_the_higher_head():
  (curve,) = blocks.curves([_record("linear", 8, i) for i in range(3)])
  assert curve.each(8, blocks.effective) == [1.5, 2.5, 3.5]
  assert curve.middles(blocks.effective) == [2.5]
  assert curve.each(8, blocks.halved) == [2, 2, 2]  # of heads with 1 and 2
  assert curve.bound(8) == 2


def test_a_row_has_bound_ranks_and_growth():
  text = blocks.tables(_sweep(), {"slug": "cpu-test"})
  assert (
      "**cpu-test; jax 1.2.3; B=1, H=2, d=2, float64, W=4, drawn log-dec"
      in text
  )
  assert "; n = 32**" in text
  rows = [row for row in text.splitlines() if row.startswith("| ")]
  assert [row.split(" | ")[0] for row in rows[2:]] == [
      "| softmax", "| kda", "| mamba2", "| linear", "| linformer, full",
  ]  # fmt: skip
  assert rows[2] == "| softmax | none | 16 | 16 | 1 | 1.5 | grows like n^1.00 |"
  expected = "| linear | F = 2 | 2 | 2 | 1 | 2.5 [1.5, 3.5] | at most 2 |"
  assert rows[5] == expected
  assert "- softmax: n = 64: over_budget: too long" in text


def test_other_experiments_and_settings_stand_apart():
  other = [_record("linear", experiment="other")]
  assert blocks.tables(other, {}) == ""
  new = [_record("linear", point={"width": 4}, started="2")]
  text = blocks.tables([_record("linear"), *new], {"slug": "cpu"})
  assert text.index("d=4") < text.index("d=2")


def test_what_was_never_computed_is_a_line():
  failed = {"status": "wrong", "reason": "rank: expected at most 2 (F)"}
  text = blocks.tables([_record("linear", **failed)], {"slug": "cpu"})
  assert "- linear: n = 8: wrong: rank: expected at most 2 (F)" in text


def test_the_block_of_largest_rank_is_outlined_where_it_is_larger():
  record = _record("loglinear")
  (curve,) = blocks.curves([record])
  assert blocks_pictures.outlined(curve) == (6, 2)  # 2 there, 1 at n/2
  record["blocks"]["heads"][0]["ranks"] = [2, 2, 2]
  (curve,) = blocks.curves([record])
  assert blocks_pictures.outlined(curve) == (4, 2)


def test_the_figure_has_every_mechanism_and_the_same_bytes():
  records = blocks.settings(_sweep())[0]
  with blocks_figure.canvas.settings():
    drawn = blocks_figure.draw(records, {"slug": "cpu-test"})
  assert isinstance(drawn, mpl_figure.Figure)
  said = "\n".join(
      text.get_text()
      for ax in drawn.axes
      for text in (*ax.texts, ax.title, ax.xaxis.label)
  ) + "\n".join(text.get_text() for text in drawn.texts)
  for words in ("softmax", "rank 2 of 8", "n/2", "delta rule", "linformer"):
    assert words in said, words
  first = blocks_figure.render(records, {"slug": "cpu-test"})
  again = blocks_figure.render(records, {"slug": "cpu-test"})
  assert set(first) == {"svg", "pdf", "png"} and first == again


def test_a_figure_of_little_is_drawn():
  lone = [_record("mean", bound=None)]
  assert blocks_figure.render(lone, {})["svg"].startswith(b"<?xml")
  for values in ("values", "picture"):
    lone[0]["blocks"].pop(values, None)
  lone[0]["blocks"]["heads"][0]["values"] = []
  assert blocks_figure.render(lone, {})["svg"].startswith(b"<?xml")


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
  """A device's folder of results."""
  folder = tmp_path / "results" / "block_structure" / "cpu"
  folder.mkdir(parents=True)
  for record in _sweep():
    store.append(folder / "records.jsonl", record)
  (folder / "environment.json").write_text('{"slug": "cpu"}')
  config = {"experiment": "block_structure"}
  (folder / "config.json").write_text(json.dumps(config))
  return folder


def test_a_folder_gets_table_and_figure_and_the_readme_both(folder, capsys):
  build.publish(folder, blocks.tables, "blocks", "blocks_figure")
  assert "table: " in capsys.readouterr().out
  assert (folder / "figures" / "blocks.pdf").read_bytes().startswith(b"%PDF")
  root = folder.parents[2]
  text = readme.rendered("block_structure", root)
  link = "(results/block_structure/cpu/figures/blocks.svg)"
  assert text.startswith("![") and link in text and "| linear | F = 2" in text
  with pytest.raises(results.Missing, match="has no laws but its own table"):
    results.check(folder)
