"""The fingerprint tells machines and settings apart, and names nobody."""

import getpass
import json
import os
import platform
import re
import types

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


class _Gpu:
  """Stands for a device that is lent with one host or another."""

  platform, device_kind = "gpu", "NVIDIA H100 80GB HBM3"

  def __init__(self, version="PJRT C API\ncuda 13000"):
    self.client = types.SimpleNamespace(platform_version=version)


@pytest.fixture(name="lend")
def _lend(monkeypatch):
  def lend(count=1, driver="NVRM version: 580.65", **of):
    devices = [_Gpu(**of)] * count
    known = environment._read
    monkeypatch.setattr(environment.jax, "devices", lambda: devices)
    monkeypatch.setattr(environment.jax, "device_count", lambda: count)
    monkeypatch.setattr(environment.jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(
        environment,
        "_read",
        lambda path: driver + "\nGCC" if "nvidia" in path else known(path),
    )
    return environment.fingerprint()

  return lend


@pytest.mark.parametrize("part", ["cores", "_memory_gib", "_host"])
def test_an_accelerator_is_the_same_whatever_host_it_is_lent_with(
    lend, monkeypatch, part
):
  before = lend()
  monkeypatch.setattr(environment, part, lambda: "another")
  assert lend() == before
  assert "another" in environment.describe().values()  # and told all the same


@pytest.mark.parametrize(
    "other",
    [{"count": 2}, {"driver": "NVRM version: 590"}, {"version": "cuda 14000"}],
)
def test_another_driver_runtime_or_count_is_another_accelerator(lend, other):
  assert lend() != lend(**other)


def test_the_versions_that_drive_an_accelerator_are_described(
    lend, monkeypatch
):
  version = environment.importlib.metadata.version

  def installed(name):
    return "0.10.2" if name == "jax-cuda13-pjrt" else version(name)

  monkeypatch.setattr(environment.importlib.metadata, "version", installed)
  assert "runtime" not in environment.describe()
  lend()
  assert environment.describe()["runtime"] == {
      "platform": "PJRT C API\ncuda 13000",
      "jax-cuda13-pjrt": "0.10.2",
      "driver": "NVRM version: 580.65",
  }


def test_the_fingerprint_of_a_processor_is_of_all_that_is_known_of_it(
    monkeypatch,
):
  found = {
      "system": "Linux", "architecture": "x86_64", "model": "AMD EPYC",
      "cores": 2, "memory_gib": 8, "device": "cpu", "device_kind": "cpu",
      "device_count": 1, "huge_pages": "madvise", "host": "0123456789ab",
  }  # fmt: skip
  monkeypatch.setattr(environment, "machine", lambda: found)
  monkeypatch.setattr(environment, "settings", lambda: {"NPROC": "2"})
  # As in records that are there already, whose keys must be found again.
  assert environment.fingerprint() == "032bd5bedbdd"


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
