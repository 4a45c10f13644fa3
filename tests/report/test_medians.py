"""What is said of a setting tells it from any other."""

import pytest

from lalm.report import medians

_POINT = {
    "length": 8, "batch": 1, "heads": 2, "width": 16, "value_width": 16,
    "dtype": "float32", "corpus": "", "seed": 0,
}  # fmt: skip


def _place(**fields):
  records = [{"point": {**_POINT, **fields}, "versions": {"jax": "1"}}]
  return medians.place(records, {"slug": "here"})


def test_a_place_names_what_is_not_usual():
  assert _place() == "here; jax 1; B=1, H=2, d=16, float32"
  assert _place(value_width=8, seed=3, corpus="some/where/book.txt") == (
      "here; jax 1; B=1, H=2, d=16, V=8, float32, of book.txt, seed 3"
  )


@pytest.mark.parametrize("content", (None, "{", "[1]"))
def test_a_folder_without_its_environment_has_a_table(tmp_path, content):
  (tmp_path / "records.jsonl").touch()
  if content is not None:
    (tmp_path / "environment.json").write_text(content)
  tables = lambda records, environment: f"{list(records)} {environment}\n"
  assert medians.publish(tmp_path, tables) == ([], {})
  assert (tmp_path / "table.md").read_text() == "[] {}\n"


@pytest.mark.parametrize(
    ("count", "words"), [(1, "1 worker"), (2, "2 workers")]
)
def test_workers_are_those_that_have_measured(count, words):
  records = [{"replicate": r % count, "status": "ok"} for r in range(4)]
  failed = [{"replicate": 9, "status": "crashed"}]
  assert medians.workers(records + failed) == words
