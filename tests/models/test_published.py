"""Where weights are, and which are refused."""

import sys

import pytest

from lalm.models import published


def test_a_path_is_itself(tmp_path):
  path = tmp_path / "a.safetensors"
  path.write_bytes(b"x")
  assert published.find(str(path)) == path


def test_our_own_is_in_the_repository():
  assert published.find("own").suffix == ".safetensors"


def _package(tmp_path, monkeypatch, data):
  own = published.PACKAGES["minilm"]._replace(module="lalm_test_weights")
  monkeypatch.setitem(published.PACKAGES, "minilm", own)
  path = tmp_path / own.module / own.file
  path.parent.mkdir(parents=True)
  # It is looked up, never imported.
  (tmp_path / own.module / "__init__.py").write_text("raise SystemExit(1)")
  if data is not None:
    path.write_bytes(data)
  monkeypatch.syspath_prepend(tmp_path)
  return path


def test_a_package_is_not_imported_and_its_file_is_checked(
    tmp_path, monkeypatch
):
  path = _package(tmp_path, monkeypatch, b"another")
  with pytest.raises(ValueError, match="expected SHA-256 53aa5117") as error:
    published.find("minilm")
  assert (
      str(path) in str(error.value) and "lalm_test_weights" not in sys.modules
  )


def test_a_package_without_its_file_is_refused(tmp_path, monkeypatch):
  _package(tmp_path, monkeypatch, None)
  with pytest.raises(ValueError, match="minilm: expected"):
    published.find("minilm")


@pytest.mark.parametrize(
    "name, words",
    (("none.safetensors", "weights: expected one of own, minilm"),),
)
def test_what_is_nowhere_is_refused(name, words):
  with pytest.raises(ValueError, match=words):
    published.find(name)


def test_a_package_that_is_missing_says_how_to_get_it(monkeypatch):
  own = published.PACKAGES["minilm"]._replace(module="lalm_no_such_package")
  monkeypatch.setitem(published.PACKAGES, "minilm", own)
  with pytest.raises(ValueError, match="got none; python3 -m pip install"):
    published.find("minilm")


def test_a_digest_is_of_what_the_file_holds_now(tmp_path):
  path = tmp_path / "a"
  found = []
  for text in ("one", "other", "one"):
    path.write_text(text)
    found.append(published.digest(path))
  assert found[0] == found[2] != found[1]
  with pytest.raises(OSError):
    published.digest(tmp_path / "none")
