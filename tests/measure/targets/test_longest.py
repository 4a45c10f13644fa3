"""The longest length that fits is found, by few compiles."""

import math

import jax
import jax.numpy as jnp
import pytest

from lalm.measure import kernel
from lalm.measure import points
from lalm.measure.targets import costs
from lalm.measure.targets import hardware
from lalm.measure.targets import longest
from lalm.measure.targets import topology

_LAWS = {
    "linear": lambda n: 8192 * n + 1e6,
    "quadratic": lambda n: 8192 * n + 32 * n * n,
    "n log n": lambda n: 100 * n * math.log2(n),
    "a step": lambda n: 8192 * n if n < 60_000 else 24_576 * n,
    "a step where it ends": lambda n: 8192 * n * (1 if n < 2_000_000 else 2),
    "a step down": lambda n: 8192 * n * (2 if n < 1_000_000 else 1),
    "hardly": lambda n: 2**34 * (0.6 + n / 2e7),
    "many steps": lambda n: 8192 * (n + 150_000 * (n // 300_000)),
}


def _search(law, memory=16 * 2**30, first=32_768, grain=128):
  tried = []

  def compiled(length):
    tried.append(length)
    size = law(length)
    # Far beyond the memory, compilers give up.
    return None if size > 4 * memory else {"memory": {"device_bytes": size}}

  return longest.search(compiled, memory, first, grain), tried


@pytest.mark.parametrize("first", [1024, 32_768, 2**22])
@pytest.mark.parametrize("name", _LAWS)
def test_a_length_fits_and_a_little_longer_does_not(name, first):
  law, memory = _LAWS[name], 16 * 2**30
  found, tried = _search(law, first=first)
  assert law(found.fits) <= memory < law(found.fails)
  assert found.fails <= max(1.02 * found.fits, found.fits + 128)
  assert found.record["memory"]["device_bytes"] == law(found.fits)
  assert found.compiles == len(tried) == len(set(tried)) <= 16
  for length in tried:
    assert length % max(128, 2 ** (int(math.log2(length)) - 7)) == 0


@pytest.mark.parametrize("first", [2**19, 2**20, 1_900_000, 2**22])
def test_a_law_is_found_by_three_or_four_compiles(first):
  gone = lambda n: 14_000 * n if n < 1_228_000 else math.inf  # no more is told
  for law in (_LAWS["linear"], lambda n: 4096 * n + 1e9, gone):
    found, tried = _search(law, first=first)
    assert found.compiles <= 4 and tried[0] <= first < tried[0] + 2**15


def test_what_never_fits_and_what_always_does():
  found, _ = _search(lambda n: 1e15)
  assert found.fits is None and found.record is None and found.fails == 128
  found, tried = _search(lambda n: 10.0)
  assert found.fits == longest.LONGEST and found.fails is None
  assert len(tried) < 6


@pytest.mark.parametrize("grains", [1, 2, 3, 7])
@pytest.mark.parametrize("first", [4096, 7168, 32_768])
def test_the_last_grains_are_tried(grains, first):
  found, _ = _search(
      lambda n: float(n), (grains + 0.5) * 1024, first=first, grain=1024
  )
  assert found.fits == grains * 1024 and found.fails == (grains + 1) * 1024


def test_of_a_function_of_ones_own_the_longest_is_found_too(monkeypatch):
  tried = []

  def of(function, arguments, target, specs):
    assert (function, target, specs) == ("f", "tpu-v5e-2x2", ("s",))
    (length,) = arguments
    tried.append(length)
    if length > 40 * 2**20:
      raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Ran out of memory")
    return costs.Costs(0, 0, 0, 1000 * length, None, 0.0, {}, *[None] * 4)

  monkeypatch.setattr(costs, "of", of)
  given = "f", lambda length: (length,), "tpu-v5e-2x2", ("s",)
  found = longest.of(*given)
  memory = hardware.get("tpu-v5e-2x2").chip.memory
  assert 1000 * found.length <= memory < 1000 * found.fails
  assert found.fails <= 1.02 * found.length
  assert found.costs.peak_bytes == 1000 * found.length
  assert all(length % (4 * 128) == 0 for length in tried)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("specs: expected a tuple"),
        MemoryError("no room here"),
        # More of it is not what a shorter length needs.
        jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem."
        ),
    ],
)
def test_what_goes_wrong_otherwise_is_no_answer(monkeypatch, error):
  def fails(*_):
    raise error

  monkeypatch.setattr(costs, "of", fails)
  with pytest.raises(type(error), match=str(error)):
    longest.of("f", lambda length: (), "h100")


def test_arguments_must_fit_here(monkeypatch):
  def arguments(length):
    raise MemoryError(f"no room for {length}")

  monkeypatch.setattr(costs, "of", lambda *_: None)
  with pytest.raises(MemoryError, match="no room for 32768"):
    longest.of("f", arguments, "h100")


_POINT = {
    "mechanism": "linear", "form": "chunkwise", "pass": "forward_backward",
    "length": 1024, "batch": 1, "heads": 2, "width": 8, "value_width": 8,
    "dtype": "float32", "causal": True, "chunk": None, "corpus": "", "seed": 0,
}  # fmt: skip


@pytest.fixture(name="target")
def _target(monkeypatch):
  """A target of 64 MiB whose compiler is that of the CPU."""
  if jax.device_count() < 4:
    pytest.skip("four devices are needed")
  monkeypatch.setattr(topology, "devices", lambda name: jax.devices()[:4])
  monkeypatch.setitem(topology._COMPILERS, "tpu", "jaxlib")
  machine = hardware.get("tpu-v5e-2x2")
  chip = machine.chip._replace(memory=2**26)
  return longest.Target(kernel.TARGET, machine._replace(chip=chip))


def test_the_record_of_a_point_is_of_its_longest_length(target, tmp_path):
  settings = {"cache": str(tmp_path)}
  record = target.measure(_POINT, 0, settings)
  found = record["longest"]
  assert record["status"] == "ok" and record["point"] == _POINT
  assert found["length"] % 512 == 0 and found["compiles"] <= 6
  assert found["length"] < found["fails"] <= 1.02 * found["length"] + 512
  assert 0.97 * 2**26 < record["memory"]["device_bytes"] <= 2**26
  assert record["key"] == target.plan(_POINT, settings)["key"]
  again = target.measure(_POINT, 0, settings)
  assert again["compile_seconds"] == record["compile_seconds"]  # not anew


def test_a_key_is_of_long_programs_too(target, monkeypatch):
  settings = {"cache": None}
  key = target.plan(_POINT, settings)["key"]
  program = points.program

  def longer(point, mechanism):
    made = program(point, mechanism)
    if point["length"] < 10_000:
      return made
    function = jax.jit(lambda *x: jax.tree.map(jnp.negative, made.function(*x)))
    return made._replace(function=function)

  monkeypatch.setattr(points, "program", longer)
  assert target.plan(_POINT, settings)["key"] != key


def test_what_takes_no_bytes_has_no_longest():
  assert _search(lambda n: 0)[0].fails is None
