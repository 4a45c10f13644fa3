"""A wrong call raises `ValueError` with the argument, expected and got."""

import re

import jax.numpy as jnp
import numpy as np
import pytest

from lalm.attention import catalogue
from lalm.attention import contract
from tests.attention import cases
from tests.attention import subject

pytestmark = pytest.mark.catalogued

GOOD = cases.Case("good", length=7, batch=2, heads=2, dtype="float32")
RANK = ("rank",)  # stands for that of the argument, 4 but for deltaproduct
# What is wrong, the argument to name, and words for expected and got.
WRONG = {
  "queries of rank 3": ("q", lambda q, k, v: (q[0], k, v), RANK),
  "keys of rank 5": ("k", lambda q, k, v: (q, k[None], v), RANK),
  "values of rank 2": ("v", lambda q, k, v: (q, k, v[0, 0]), RANK),
  "another batch": ("k", lambda q, k, v: (q, k[:1], v), ("2", "1")),
  "another key width": ("k", lambda q, k, v: (q, k[..., :-1], v), ("6", "5")),
  "values longer than keys": (
    "v", lambda q, k, v: (q, k, jnp.concatenate([v, v], 1)), ()
  ),
  "other value heads": ("v", lambda q, k, v: (q, k, v[:, :, :1]), ("2", "1")),
  "heads that do not divide": (
    "k|heads",
    lambda q, k, v: (
      jnp.concatenate([q, q[:, :, :1]], 2), k, v
    ),
    ("2", "3"),
  ),
  "integer queries": ("q", lambda q, k, v: (q.astype(jnp.int32), k, v),
                      ("float", "int32")),
  "boolean values": ("v", lambda q, k, v: (q, k, v > 0), ("float", "bool")),
  "queries of 8 bits": ("q", lambda q, k, v: (
      q.astype(jnp.float8_e4m3fn), k, v), ("float", "16", "float8")),
  "complex keys": ("k", lambda q, k, v: (q, k.astype(jnp.complex64), v),
                   ("float", "complex64")),
}  # fmt: skip


def _good(name, form):
  """Arrays and keywords of a valid call."""
  arrays, gates, _ = cases.make(name, GOOD)
  named = dict(gates)
  if form == "step":
    arrays, named = subject.part((arrays, named), 0, 1)
    named["state"] = subject.blank(name, GOOD)
  named |= subject.small(name, GOOD)
  return tuple(jnp.asarray(x) for x in arrays), named


def _needs(mechanism, form, argument):
  if not subject.accepts(mechanism, form, argument):
    pytest.skip(f"{form} of {mechanism} takes no {argument}")


def _assert_says(error, argument, words):
  text = str(error.value)
  assert re.search(rf"\b({argument})\b", text), text
  for word in ("expected", "got", *words):
    assert word in text, f"{word!r} is not in {text!r}"
  assert "\n" not in text


@pytest.mark.parametrize("wrong", WRONG)
def test_arrays_that_do_not_fit_are_named(mechanism, form, wrong):
  argument, change, words = WRONG[wrong]
  arrays, named = _good(mechanism, form)
  if words == RANK:
    words = (str(len(catalogue.get(mechanism).layouts[argument])),)
  catalogue.get(mechanism).forms[form](*arrays, **named)  # the good call
  with pytest.raises(ValueError) as error:
    catalogue.get(mechanism).forms[form](*change(*arrays), **named)
  _assert_says(error, argument, words)


@pytest.mark.parametrize("chunk", (0, -3))
def test_a_chunk_below_one_is_named(mechanism, form, chunk):
  _needs(mechanism, form, "chunk")
  arrays, named = _good(mechanism, form)
  with pytest.raises(ValueError) as error:
    catalogue.get(mechanism).forms[form](*arrays, chunk=chunk, **named)
  _assert_says(error, "chunk", (str(chunk), "1"))


@pytest.mark.parametrize("make", (jnp.int32, np.array, lambda x: [x]))
def test_a_static_keyword_that_is_an_array_is_named(mechanism, form, make):
  arrays, named = _good(mechanism, form)
  for argument in contract.STATIC:
    if not subject.accepts(mechanism, form, argument):
      continue
    with pytest.raises(ValueError) as error:
      call = {**named, argument: make(4)}
      catalogue.get(mechanism).forms[form](*arrays, **call)
    _assert_says(error, argument, ("array",))


@pytest.mark.forms("parallel", "blockwise", "chunkwise", "recurrent")
@pytest.mark.parametrize("keys", (5, 9))
def test_causal_without_a_state_needs_as_many_keys(mechanism, form, keys):
  arrays, named = _good(mechanism, form)
  named = {**named, "causal": True}
  q, k, v = arrays
  k, v = (jnp.concatenate([x, x], axis=1)[:, :keys] for x in (k, v))
  with pytest.raises(ValueError) as error:
    catalogue.get(mechanism).forms[form](q, k, v, **named)
  words = (str(keys), "7") if catalogue.get(mechanism).causal else ()
  _assert_says(error, "k|keys|S|causal", words)


@pytest.mark.forms("parallel", "blockwise")
def test_a_causal_form_that_cannot_be_is_refused(mechanism, form):
  if catalogue.get(mechanism).causal:
    pytest.skip(f"{mechanism} can be causal")
  arrays, named = _good(mechanism, form)
  with pytest.raises(ValueError) as error:
    catalogue.get(mechanism).forms[form](*arrays, causal=True, **named)
  _assert_says(error, "causal", ("False", "True"))


@pytest.mark.forms("step")
@pytest.mark.parametrize("length", (0, 2))
def test_step_takes_exactly_one_token(mechanism, form, length):
  arrays, named = _good(mechanism, form)
  twice = (jnp.concatenate([x, x], axis=1) for x in arrays)
  arrays = tuple(x[:, :length] for x in twice)
  with pytest.raises(ValueError) as error:
    catalogue.get(mechanism).forms[form](*arrays, **named)
  _assert_says(error, "q|T|length|token|tokens", ("1", str(length)))


def test_segment_ids_of_another_shape_are_named(mechanism, form):
  _needs(mechanism, form, "segment_ids")
  arrays, named = _good(mechanism, form)
  for ids in (np.zeros((2, 8), np.int32), np.zeros((7,), np.int32)):
    with pytest.raises(ValueError) as error:
      catalogue.get(mechanism).forms[form](*arrays, segment_ids=ids, **named)
    _assert_says(error, "segment_ids", (str(ids.shape[-1]),))


def test_segment_ids_that_are_not_integers_are_named(mechanism, form):
  _needs(mechanism, form, "segment_ids")
  arrays, named = _good(mechanism, form)
  ids = np.zeros(arrays[0].shape[:2], np.float32)
  with pytest.raises(ValueError) as error:
    catalogue.get(mechanism).forms[form](*arrays, segment_ids=ids, **named)
  _assert_says(error, "segment_ids", ("int", "float32"))


def test_segment_ids_that_are_no_array_are_named(mechanism, form):
  _needs(mechanism, form, "segment_ids")
  arrays, named = _good(mechanism, form)
  ids = [[0] * 7] * 2
  with pytest.raises(ValueError) as error:
    catalogue.get(mechanism).forms[form](*arrays, segment_ids=ids, **named)
  _assert_says(error, "segment_ids", ())


@pytest.mark.parametrize(
    ("scale", "got"),
    [
        (np.ones(6), "(6,)"),
        (1j, "complex"),
        (True, "bool"),
        ([1.0], "list"),
        ({"a": 1.0}, "dict"),
    ],
)
def test_a_scale_that_is_no_number_is_named(mechanism, form, scale, got):
  _needs(mechanism, form, "scale")
  arrays, named = _good(mechanism, form)
  with pytest.raises(ValueError) as error:
    catalogue.get(mechanism).forms[form](*arrays, scale=scale, **named)
  _assert_says(error, "scale", (got,))


def test_a_state_of_another_kind_or_shape_is_named(mechanism, form):
  _needs(mechanism, form, "state")
  arrays, named = _good(mechanism, form)
  state = subject.blank(mechanism, GOOD)
  wrong = [tuple(state), state._replace(segment=state.segment[:1])]
  for name in catalogue.names():
    if catalogue.get(name).start is None:
      continue
    other = subject.blank(name, GOOD)
    if type(other) is not type(state):
      wrong.append(other)
  for given in wrong:
    with pytest.raises(ValueError) as error:
      call = {**named, "state": given}
      catalogue.get(mechanism).forms[form](*arrays, **call)
    _assert_says(error, r"state(\.\w+)?", ())


_NO_ROWS = {"key_projection": (0, 7), "value_projection": (0, 7)}


@pytest.mark.parametrize(
    "name, argument, wrong, got",
    (
        ("linformer", "key_projection", _NO_ROWS, "0"),
        ("nystromformer", "iterations", {"iterations": 0}, "0"),
        ("nystromformer", "iterations", {"iterations": 2.5}, "2.5"),
        ("nystromformer", "landmarks", {"landmarks": 8}, "8"),
        ("lsh", "window", {"window": 0}, "0"),
        ("lsh", "window", {"window": "wide"}, "wide"),
        ("window", "window", {"window": 2.0}, "2.0"),
        ("window", "window", {"window": np.array(4)}, "ndarray"),
    ),
)
def test_a_budget_that_does_not_fit_is_named(name, argument, wrong, got):
  entry = catalogue.get(name)
  for form in entry.forms:
    arrays, named = _good(name, form)
    if not entry.causal:
      named["causal"] = False
    wide = {
        keyword: jnp.zeros(value) if isinstance(value, tuple) else value
        for keyword, value in wrong.items()
    }
    with pytest.raises(ValueError) as error:
      entry.forms[form](*arrays, **{**named, **wide})
    _assert_says(error, argument, (got,))


@pytest.mark.parametrize("dtype", ("bfloat16", "int32"))
def test_a_state_of_sums_of_another_dtype_is_named(dtype):
  arrays, _ = _good("linear", "chunkwise")
  state = subject.blank("linear", GOOD)
  state = state._replace(S=state.S.astype(dtype))
  with pytest.raises(ValueError) as error:
    catalogue.get("linear").forms["chunkwise"](*arrays, state=state)
  _assert_says(error, "state.S", (dtype, "float32"))


@pytest.mark.parametrize(
    "name",
    (
        "sotfmax",
        "",
        "no.such.package:NAME",
        "lalm.attention.catalogue:NO_SUCH_NAME",
        "lalm.attention.catalogue:names",
    ),
)
def test_an_unknown_mechanism_is_named_with_what_there_is(name):
  with pytest.raises(ValueError) as error:
    catalogue.get(name)
  text = str(error.value)
  assert repr(name) in text or name in text
  assert "expected" in text and "got" in text
  if ":" not in name:
    for known in catalogue.names():
      assert known in text


@pytest.mark.parametrize("name", ("recurent", "", "Parallel", None))
def test_an_unknown_feature_map_is_not_called(name):
  arrays, _ = _good("linear", "chunkwise")
  with pytest.raises(ValueError) as error:
    catalogue.get("linear").forms["chunkwise"](*arrays, feature_map=name)
  _assert_says(error, "feature_map", (str(name),))
