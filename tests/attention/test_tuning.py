"""Chunks come from a table by platform, dtype and width."""

import json

import jax
import jax.numpy as jnp
import pytest

from lalm.attention import catalogue
from lalm.attention import linear
from lalm.attention import tuning
from lalm.measure import operations
from lalm.measure import points

_CHUNKED = sorted(
    (name, form)
    for name in catalogue.names()
    for form in catalogue.get(name).featured
    if getattr(catalogue.get(name).forms[form], "tuned_as", "")
    and form in ("chunkwise", "blockwise")
    and catalogue.get(name).causal
)
# Pairs of blocks, sums, a decay, a delta rule, several writes.
_QUICK = ("softmax", "linear", "mamba2", "gated_deltanet", "deltaproduct")


@pytest.fixture
def table(monkeypatch):
  """Sets sizes of a form: {(platform, 16 bits): {width: chunk}}."""
  own: dict = {}

  def put(form, rows):
    own.update({(form, *where): widths for where, widths in rows.items()})
    jax.clear_caches()  # a table does not change while a process runs

  monkeypatch.setattr(tuning, "_table", lambda: own)
  yield put
  jax.clear_caches()


def _inputs(length=40, width=8):
  return [
      jax.random.normal(jax.random.key(i), (1, length, 2, width))
      for i in range(3)
  ]


def test_the_nearest_width_of_the_platform_and_dtype_counts(table):
  table("f.g", {("tpu", True): {64: 7, 256: 9}, ("tpu", False): {64: 5}})
  size = lambda itemsize, width: tuning.size("f.g", "tpu", itemsize, width)
  assert [size(2, w) for w in (16, 64, 120, 130, 512)] == [7, 7, 7, 9, 9]
  assert size(4, 512) == size(8, 64) == 5
  assert tuning.size("f.g", "cuda", 4, 64) is None
  assert tuning.size("f.h", "tpu", 4, 64) is None


@pytest.mark.parametrize("staged", [False, True])
def test_a_form_takes_the_chunk_of_its_platform(table, staged):
  q, k, v = _inputs()
  stage = jax.jit if staged else lambda f: f
  asked = lambda **more: stage(
      lambda *x: linear.chunkwise(*x, **more).out
  )(q, k, v)  # fmt: skip
  own, five = asked(), asked(chunk=5)
  assert (own != five).any()  # or it could not be told which one was taken
  table("linear.chunkwise", {("cpu", False): {8: 5}, ("tpu", False): {8: 7}})
  assert (asked() == five).all()
  assert (asked(chunk=32) == own).all()
  full = asked(causal=False)
  table("linear.chunkwise", {("cpu", False): {}, ("tpu", False): {8: 7}})
  assert (asked() == own).all()
  assert (asked(causal=False) == full).all()


def test_gradients_outside_of_programs_take_it_too(table):
  q, k, v = _inputs()
  loss = lambda chunk: lambda *x: linear.chunkwise(*x, chunk=chunk).out.sum()
  slope = lambda chunk: jax.grad(loss(chunk), (0, 1, 2))(q, k, v)
  second = lambda chunk: jax.jvp(
      lambda q: jax.grad(loss(chunk))(q, k, v), (q,), (q,)
  )[1]
  expected, bent = slope(5), second(5)
  table("linear.chunkwise", {("cpu", False): {8: 5}, ("tpu", False): {8: 7}})
  for found, own in zip(slope(None), expected, strict=True):
    assert (found == own).all()
  assert (second(None) == bent).all()
  batched = jax.vmap(lambda q: linear.chunkwise(q, k, v).out)(q[None])
  assert (batched[0] == linear.chunkwise(q, k, v, chunk=5).out).all()


@pytest.mark.parametrize("derived", [False, True])
def test_a_program_is_of_the_platform_it_is_made_for(table, derived):
  q, k, v = _inputs()

  def program(chunk=None):
    call = lambda q: linear.chunkwise(q, k, v, chunk=chunk).out.sum()
    return jax.jit(jax.grad(call) if derived else call)

  text = lambda made: made.lower(q).as_text()
  untuned = text(program())
  table("linear.chunkwise", {("cpu", False): {8: 5}, ("tpu", False): {8: 7}})
  asked = program()  # what JAX keeps of it is of the platform it was made for
  here = text(asked)
  with tuning.lowered_for("tpu"):
    there = text(asked)
  with tuning.lowered_for("cuda"):
    neither = text(asked)
  assert [here, there] == [text(program(5)), text(program(7))]
  assert neither == untuned and len({here, there, neither}) == 3


def test_a_default_device_decides_what_programs_are_made_for():
  assert tuning.assumed() == "cpu"
  with jax.default_device(jax.devices()[0]):
    assert tuning.assumed() == "cpu"
  with tuning.lowered_for("tpu"):
    assert tuning.assumed() == "tpu"
  with pytest.raises(ValueError, match="cpu, cuda, tpu; got 'gpu'"):
    tuning.lowered_for("gpu")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        pytest.param(
            name, form, marks=() if name in _QUICK else pytest.mark.slow
        )
        for name, form in _CHUNKED
    ],
)
@pytest.mark.parametrize("pass_", points.PASSES)
def test_closed_forms_are_of_the_chunks_of_their_platform(
    table, name, form, pass_
):
  entry = catalogue.get(name)
  table(entry.forms[form].tuned_as, {("tpu", False): {8: 24}})
  sizes = dict(length=80, heads=2, width=8, value_width=8)
  point = dict(sizes, mechanism=name, form=form, batch=1, dtype="float32")
  point |= {"pass": pass_, "causal": True, "chunk": None, "seed": 0}
  program = points.program(point, entry)
  for platform in ("cpu", "cuda", "tpu"):
    with tuning.lowered_for(platform):
      jaxpr = program.function.trace(*program.arguments).jaxpr
      counted = operations.count_jaxpr(jaxpr).products
      assert counted == points.cost(point, entry).products
    assert counted == points.cost(point, entry, platform).products
  told = entry.cost(form, pass_=pass_, chunk=24, **sizes)
  several = entry.cost(form, pass_=pass_, platform="tpu", **sizes)
  assert entry.writes or told == several


def test_a_token_of_many_writes_has_fewer_in_a_chunk():
  assert tuning.fitted(64, None, None) == 64
  assert tuning.fitted(64, 3, None) == 21
  assert tuning.fitted(64, 100, None) == 1
  assert tuning.fitted(64, None, 10) == 10 and tuning.fitted(64, None, 99) == 64


def test_the_table_names_forms_that_there_are():
  forms = {catalogue.get(name).forms[form].tuned_as for name, form in _CHUNKED}
  rows = json.loads(tuning.TABLE.read_text())
  for row in rows:
    assert set(row) == {"form", "platform", "dtype", "width", "chunk", "source"}
    assert row["form"] in forms and row["platform"] in tuning.PLATFORMS
    assert row["dtype"] in ("float32", "bfloat16")
    assert jnp.issubdtype(type(row["chunk"]), jnp.integer) and row["chunk"] > 0
  keys = [(r["form"], r["platform"], r["dtype"], r["width"]) for r in rows]
  assert len(set(keys)) == len(keys)
