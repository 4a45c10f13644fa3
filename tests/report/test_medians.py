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


def _ended(replicate, status, reason="", key="new", started="2"):
  return {
      "replicate": replicate, "status": status, "reason": reason, "key": key,
      "started": started,
  }  # fmt: skip


def test_what_failed_is_told_before_what_was_skipped_for_it():
  skipped = [_ended(r, "skipped", "crashed elsewhere") for r in (1, 2)]
  failed = [_ended(0, "crashed", "no reason"), *skipped]
  assert medians.trouble(failed) == "crashed: no reason"
  assert medians.trouble(skipped) == "skipped: crashed elsewhere"
  well = [_ended(3, "ok"), _ended(0, "ok")]
  assert medians.trouble([*skipped, *well]) == (
      "2 of 4 workers: skipped: crashed elsewhere"
  )
  assert medians.trouble([*well, _ended(0, "skipped")]) == ""
  old = _ended(1, "wrong", key="old", started="1")
  assert medians.trouble([old, *well]) == ""
  assert medians.trouble([]) == "not measured"


def test_another_machine_of_the_same_name_is_told_apart():
  record = {"point": _POINT, "machine": "abc"}
  here = {"slug": "here", "machine": "abc"}
  assert medians.place([record], here).startswith("here; ")
  there = medians.place([record], {**here, "machine": "def"})
  assert there.startswith("here, machine abc; ")
