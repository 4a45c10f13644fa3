"""Programs are compiled once, whatever is read of them."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from lalm.measure.targets import programs
from lalm.measure.targets import topology

_NAME = "tpu-v5e-2x2"
_FULL = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm"


@pytest.fixture(autouse=True)
def _here(monkeypatch):
  for platform in ("tpu", "cuda"):
    monkeypatch.setitem(topology._COMPILERS, platform, "jaxlib")


class _Lowered:
  """A program that counts how often it is compiled."""

  def __init__(self, function=jnp.sin, error=None):
    self._lowered = jax.jit(function).lower(jnp.ones(3))
    self._error = error
    self.times = 0

  def as_text(self):
    return self._lowered.as_text()

  def compile(self, *options):
    self.times += 1
    if self._error:
      raise self._error
    return self._lowered.compile(*options)


def test_a_program_is_compiled_once(tmp_path):
  one, other = _Lowered(), _Lowered(jnp.cos)
  first = programs.compiled(one, _NAME, str(tmp_path))
  assert programs.compiled(one, _NAME, str(tmp_path)) == first
  assert one.times == 1 and first.sizes["argument"] == 12
  assert "sine" in first.text and first.seconds > 0
  assert "cosine" in programs.compiled(other, _NAME, str(tmp_path)).text
  programs.compiled(one, "h100", str(tmp_path))
  assert one.times == 2  # another machine's is another program
  programs.compiled(one, _NAME, None)
  assert one.times == 3 and len(list(tmp_path.glob("programs/*"))) == 3


def test_another_version_or_flag_compiles_anew(tmp_path, monkeypatch):
  one = _Lowered()
  programs.compiled(one, _NAME, str(tmp_path))
  monkeypatch.setattr(topology, "versions", lambda name: {"libtpu": "2"})
  programs.compiled(one, _NAME, str(tmp_path))
  monkeypatch.setenv("XLA_FLAGS", "--xla_another=1")
  programs.compiled(one, _NAME, str(tmp_path))
  assert one.times == 3


def test_that_there_was_no_room_is_kept_and_no_other_error(tmp_path):
  full = _Lowered(error=jax.errors.JaxRuntimeError(_FULL))
  broken = _Lowered(jnp.cos, jax.errors.JaxRuntimeError("INTERNAL: broken"))
  for _ in range(2):
    with pytest.raises(jax.errors.JaxRuntimeError, match="hbm"):
      programs.compiled(full, _NAME, str(tmp_path))
    with pytest.raises(jax.errors.JaxRuntimeError, match="broken"):
      programs.compiled(broken, _NAME, str(tmp_path))
  assert (full.times, broken.times) == (1, 2)


@pytest.mark.parametrize("cut", [0, 10, -5])
def test_a_damaged_file_is_compiled_anew(tmp_path, cut):
  one = _Lowered()
  whole = programs.compiled(one, _NAME, str(tmp_path))
  (path,) = tmp_path.glob("programs/*.json.gz")
  path.write_bytes(path.read_bytes()[:cut])
  assert programs.compiled(one, _NAME, str(tmp_path)).text == whole.text
  assert one.times == 2
  found = json.loads(gzip.decompress(path.read_bytes()))
  assert found["text"] == whole.text
