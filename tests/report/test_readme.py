"""README's blocks are what the results say; a stale number is found."""

import pathlib

import pytest

from lalm.report import build, readme
from tests.oracles import synthetic

TEXT = """# Title

Before.

<!-- results:attention_scaling -->
<!-- /results -->

Between.

<!-- results:peer_comparison -->
old
<!-- /results -->

After.
"""


@pytest.fixture(name="root")
def fixture_root(tmp_path: pathlib.Path) -> pathlib.Path:
  """A repository with results and an up-to-date README."""
  laws = tmp_path / "results" / "attention_scaling" / "cpu"
  kernels = [("softmax", "blockwise"), ("linear", "chunkwise")]
  lengths = (256, 512, 1024)
  synthetic.write(
      laws,
      synthetic.sweep(kernels, ("forward",), lengths, 2),
      synthetic.all_fits(kernels, ("forward",), lengths),
      [synthetic.crossover("forward", 400.0)],
  )
  build.build(laws)
  peers = tmp_path / "results" / "peer_comparison" / "cpu"
  peers.mkdir(parents=True)
  (peers / "table.md").write_text("| peer | ratio |\n|---|---|\n| a | 1.2 |\n")
  (peers / "more.md").write_text("| b | 3.4 |\n")
  (peers / "figures").mkdir()
  for name in ("ratios.svg", "ratios_2.svg", "ratios.png"):
    (peers / "figures" / name).touch()
  (tmp_path / "README.md").write_text(TEXT)
  assert readme.main([str(tmp_path)]) == 0
  return tmp_path


def test_blocks_hold_table_figure_and_peers_and_leave_the_rest(root):
  text = (root / "README.md").read_text()
  assert "1.98 [1.95, 2.03]" in text and "cross at n = 400" in text
  assert "(results/attention_scaling/cpu/figures/scaling.svg)" in text
  assert "| a | 1.2 |" in text and "old" not in text
  assert "| b | 3.4 |" in text
  assert "(results/peer_comparison/cpu/figures/ratios.svg)" in text
  assert "ratios_2" not in text and "png" not in text
  for words in ("# Title", "Before.", "Between.", "After."):
    assert words in text


def test_a_second_run_changes_nothing_and_check_agrees(root):
  before = (root / "README.md").read_bytes()
  assert readme.main([str(root)]) == 0
  assert readme.main(["--check", str(root)]) == 0
  assert (root / "README.md").read_bytes() == before


def test_check_finds_a_stale_number_and_writes_nothing(root, capsys):
  path = root / "README.md"
  stale = path.read_text().replace("1.98 [1.95", "1.97 [1.95")
  path.write_text(stale)
  assert readme.main(["--check", str(root)]) == 1
  assert "stale" in capsys.readouterr().err
  assert path.read_text() == stale
  assert readme.main([str(root)]) == 0
  assert readme.main(["--check", str(root)]) == 0


def test_check_finds_results_that_have_changed(root):
  folder = root / "results" / "attention_scaling" / "cpu"
  fits = synthetic.all_fits(
      [("softmax", "blockwise"), ("linear", "chunkwise")], ("forward",)
  )
  synthetic.write(folder, [], [fit | {"exponent": 1.5} for fit in fits])
  assert readme.main(["--check", str(root)]) == 1


@pytest.mark.parametrize(
    "bad",
    [
        "<!-- results:attention_scaling -->\n",
        "<!-- /results -->\n",
        "<!-- results:a -->\n<!-- results:a -->\n<!-- /results -->\n",
        "<!-- results:nothing -->\n<!-- /results -->\n",
        "<!-- results:../results -->\n<!-- /results -->\n",
        "<!-- results -->\n<!-- /results -->\n",
    ],
)
def test_a_block_that_cannot_be_made_is_one_line_and_status_two(
    root, bad, capsys
):
  (root / "README.md").write_text(bad)
  capsys.readouterr()
  assert readme.main([str(root)]) == 2
  said = capsys.readouterr().err
  assert len(said.splitlines()) == 1 and "README.md" in said
  assert (root / "README.md").read_text() == bad


def test_a_missing_readme_is_one_line_and_status_two(tmp_path, capsys):
  assert readme.main([str(tmp_path)]) == 2
  said = capsys.readouterr().err
  assert len(said.splitlines()) == 1 and "README.md" in said
