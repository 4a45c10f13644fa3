"""Every entry of the catalogue has what the contract says, and it is true."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from tests.attention import cases
from tests.attention import subject
from tests.attention.bounds import forward
from tests.oracles.compare import assert_close


def test_every_name_in_the_catalogue_has_an_oracle():
  assert set(catalogue.names()) == set(subject.ORACLES)


@pytest.mark.quick
def test_an_entry_is_what_the_contract_says(mechanism):
  entry = catalogue.get(mechanism)
  assert entry.name and entry.forms and entry.featured
  assert set(entry.featured) <= set(entry.forms)
  assert catalogue.get(mechanism) is entry
  if not subject.own(mechanism):
    assert entry.name == mechanism and entry.paper and entry.transition
    first = "parallel" if entry.full else "recurrent"
    assert entry.definition is entry.forms[first]
    for form in entry.forms:
      sizes = dict(batch=1, length=8, heads=1, width=2, value_width=2)
      assert entry.cost(form, **sizes) is not None


def test_the_forms_are_those_of_the_design():
  forms = {name: set(catalogue.get(name).forms) for name in catalogue.names()}
  assert forms["softmax"] == {"parallel", "blockwise", "step"}
  assert forms["window"] == {"parallel", "chunkwise", "step"}
  assert forms.pop("lsh") == {"parallel", "chunkwise"}
  for name in ("linformer", "nystromformer"):
    assert forms.pop(name) == {"parallel", "blockwise"}
  for name in set(forms) - {"softmax", "window"}:
    first = {"parallel"} if catalogue.get(name).full else set()
    assert forms[name] == first | {"recurrent", "chunkwise", "step"}


# Decays, two writes a token, buckets, levels.
@pytest.mark.quick(names=("mamba2", "deltaproduct", "lsh", "loglinear"))
@pytest.mark.parametrize(
    "dtype", ("bfloat16", pytest.param("float64", marks=pytest.mark.slow))
)
def test_inputs_are_valid_random_and_seeded(mechanism, dtype):
  with jax.enable_x64(dtype == "float64"):
    shape = dict(
        batch=2, length=9, heads=3, width=4, value_width=5, dtype=dtype
    )
    make = jax.jit(
        functools.partial(catalogue.get(mechanism).inputs, **shape),
        compiler_options=subject.QUICK,
    )
    (q, k, v), gates = make(jax.random.key(0))
    again, _ = make(jax.random.key(0))
    other, _ = make(jax.random.key(1))
    sizes = dict(B=2, T=9, H=3, G=3, K=4, V=5, r=2)
    layouts = catalogue.get(mechanism).layouts
    for x, layout in zip((q, k, v), layouts.values()):
      assert x.shape == tuple(sizes[axis] for axis in layout)
    for x, same, differs in zip((q, k, v), again, other, strict=True):
      assert x.dtype == dtype
      np.testing.assert_array_equal(x, same)
      assert not np.array_equal(x, differs)
    assert not np.array_equal(q.ravel(), k.ravel()[: q.size])
    out = catalogue.get(mechanism).definition(q, k, v, **gates)
    out = getattr(out, "out", out)
    assert out.shape == (2, 9, 3, 5) and np.all(np.isfinite(out.astype(float)))


@pytest.mark.leading("causal, packed, ", "full, plain, grouped heads")
@pytest.mark.cases(
    *(
        cases.Case(
            f"{causal}, {packed}, {grouped}",
            length=17,
            heads=4,
            kv_heads=2 if grouped == "grouped heads" else None,
            causal=causal == "causal",
            packed=packed == "packed",
        )
        for causal in ("causal", "full")
        for packed, grouped in (("packed", ""), ("plain", "grouped heads"))
    )
)
def test_the_matrix_applied_to_the_values_is_the_output(mechanism, case):
  with subject.precision(case):
    inputs = cases.make(mechanism, case)
    (q, k, v), gates, ids = inputs
    named = dict(gates) if ids is None else {**gates, "segment_ids": ids}
    named |= {"causal": case.causal, **subject.small(mechanism, case)}
    matrix = catalogue.get(mechanism).matrix(q, k, **named)
  v = v.reshape(case.batch, -1, *v.shape[-2:])  # several writes a token
  writes = v.shape[1] // case.length
  assert matrix.shape == (case.batch, case.heads, case.length, v.shape[1])
  shared = np.repeat(v, case.heads // v.shape[2], axis=2)
  out = np.einsum("bhts,bshv->bthv", matrix, shared)
  bound = forward(case.dtype, case.length)
  assert_close(out, subject.oracle(mechanism, case, inputs), bound)
  if case.causal:
    s = np.arange(v.shape[1]) // writes
    above = s > np.arange(case.length)[:, None]
    np.testing.assert_array_equal(np.asarray(matrix)[..., above], 0)


@pytest.mark.parametrize("dtype", ("bfloat16", "float32", "float64"))
@pytest.mark.cases(cases.Case("blank", heads=4, kv_heads=2, split=1))
def test_a_blank_state_is_zero_and_of_the_shapes_asked_for(
    mechanism, case, dtype
):
  case = cases.dataclasses.replace(case, dtype=dtype)
  with subject.precision(case):
    leaves = jax.tree.leaves(subject.blank(mechanism, case))
  assert leaves
  for leaf in leaves:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
      assert not np.any(np.asarray(leaf, np.float64))
      assert leaf.shape[0] == case.batch and case.kv_heads in leaf.shape


@pytest.mark.cases(
    cases.Case("causal", length=1000, heads=1, batch=1, dtype="float32"),
    cases.Case(
        "full", length=1000, heads=1, batch=1, dtype="float32", causal=False
    ),
)
def test_reference_rows_are_rows_of_the_oracle(mechanism, case):
  inputs = cases.make(mechanism, case)
  if catalogue.get(mechanism).gates:
    pytest.skip("reference takes no gates")
  rows = np.array([0, 3, 256, 999])
  q, k, v = (x[0, :, 0] for x in inputs.arrays)
  got = catalogue.get(mechanism).reference(q, k, v, rows, causal=case.causal)
  assert got.dtype == np.float64
  expected = subject.oracle(mechanism, case, inputs)[0, rows, 0]
  assert_close(got, expected, forward("float64", case.length))
