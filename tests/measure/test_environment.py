"""The fingerprint tells machines and settings apart, and names nobody."""

import getpass
import json
import os
import platform
import re

import pytest

from lalm.measure import environment


def test_the_fingerprint_is_stable_and_short():
  first, second = environment.fingerprint(), environment.fingerprint()
  assert first == second
  assert re.fullmatch(r"[0-9a-f]{12}", first)


@pytest.mark.parametrize(
    "name, value",
    [
        ("XLA_FLAGS", "--xla_cpu_enable_fast_math=true"),
        ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=2"),
        ("MALLOC_ARENA_MAX", "1"),
        ("XLA_PYTHON_CLIENT_PREALLOCATE", "false"),
        ("OMP_NUM_THREADS", "1"),
    ],
)
def test_a_setting_changes_the_fingerprint(monkeypatch, name, value):
  before = environment.fingerprint()
  monkeypatch.setenv(name, value)
  assert environment.fingerprint() != before
  assert environment.settings()[name] == value


@pytest.mark.parametrize("name", ["HOME", "PATH", "JAX_COMPILATION_CACHE_DIR"])
def test_what_does_not_change_the_numbers_does_not_change_it(monkeypatch, name):
  before = environment.fingerprint()
  monkeypatch.setenv(name, "/somewhere/else")
  assert environment.fingerprint() == before


@pytest.mark.parametrize("part", ["model", "cores", "memory_gib", "host"])
def test_another_machine_has_another_fingerprint(monkeypatch, part):
  before = environment.fingerprint()
  other = {**environment.machine(), part: "another"}
  monkeypatch.setattr(environment, "machine", lambda: other)
  assert environment.fingerprint() != before


def test_no_user_host_or_path_is_described(monkeypatch):
  flags = "--xla_dump_to=/home/somebody/dump --xla_a=1"
  monkeypatch.setenv("XLA_FLAGS", flags)
  described = json.dumps(environment.describe())
  assert "--xla_dump_to=<path> --xla_a=1" in described
  assert "somebody" not in described
  for name in (platform.node(), os.path.expanduser("~")):
    assert len(name) < 4 or name not in described
  if len(getpass.getuser()) > 4:
    assert getpass.getuser() not in described


def test_the_description_holds_what_a_reader_needs():
  found = environment.describe()
  assert set(found["versions"]) == {"python", "jax", "jaxlib", "numpy"}
  assert found["machine"] == environment.fingerprint()
  assert found["cores"] >= 1
  assert found["device"] in ("cpu", "gpu", "tpu")
  assert re.fullmatch(r"[a-z0-9-]+", found["slug"])
  assert found["slug"].startswith(found["device"])


def test_the_revision_is_a_commit_or_nothing():
  found = environment.revision()
  assert found is None or re.fullmatch(r"[0-9a-f]{12}\+?", found)
