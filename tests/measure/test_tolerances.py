"""Tolerances follow the dtype and the number of terms."""

import pytest

from lalm.measure import tolerances


def test_tolerances_grow_with_the_root_of_the_length_beyond_4096():
  base = tolerances.forward("float32", 256)
  assert base == tolerances.forward("float32", 4096) == 1e-6
  assert tolerances.forward("float32", 4 * 4096) == pytest.approx(2e-6)
  assert tolerances.gradient("float32", 65_536) == pytest.approx(2e-5)


def test_fewer_bits_allow_more():
  dtypes = ["float64", "float32", "float16", "bfloat16"]
  found = [tolerances.forward(dtype, 1) for dtype in dtypes]
  assert found == sorted(found) and len(set(found)) == 4
  assert tolerances.gradient("bfloat16", 1) > found[-1]


def test_a_difference_is_never_asked_for_more_than_it_resolves():
  assert tolerances.directional("float64", 1) >= 1e-8
  assert tolerances.directional("float32", 1) == tolerances.gradient(
      "float32", 1
  )


def test_accelerators_multiply_others_float32_in_fewer_bits():
  host, gpu, tpu = (
      tolerances.forward("float32", 1, device)
      for device in ("cpu", "gpu", "tpu")
  )
  assert host < gpu < tpu
  assert tolerances.forward("float64", 1, "gpu") == 1e-13


@pytest.mark.parametrize("device", ["gpu", "tpu"])
@pytest.mark.parametrize("kind", ["forward", "gradient", "directional"])
def test_our_float32_is_multiplied_in_full_on_every_device(kind, device):
  allowed = getattr(tolerances, kind)
  host = allowed("float32", 8192, ours=True)
  assert host == allowed("float32", 8192)
  assert host <= allowed("float32", 8192, device, ours=True) <= 4 * host
  for dtype in ("float64", "float16", "bfloat16"):
    found = allowed(dtype, 8192, device, ours=True)
    assert found == allowed(dtype, 8192, device)


def test_an_unknown_dtype_is_refused():
  with pytest.raises(ValueError, match="dtype: expected one of .*got 'int8'"):
    tolerances.forward("int8", 1)
