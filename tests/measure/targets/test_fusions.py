"""What fusions, asynchronous instructions and small elements move."""

import pytest

from lalm.measure.targets import hlo


def _program(computations, entry, result="f32[64]"):
  """A module of computations and an entry's lines, the last one its root."""
  lines = [f"  {line}" for line in entry]
  lines[-1] = "  ROOT " + entry[-1]
  head = (
      f"HloModule m\n\n{computations}\nENTRY %main (x: f32[8]) -> {result} {{"
  )
  return "\n".join([head, *lines, "}", ""])


_PRODUCT = """\
%same (a: bf16[64,64]) -> bf16[64,64] {
  %a = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %b = bf16[64,64]{1,0:T(8,128)(2,1)} bitcast(%a)
}

%same.1 (a.1: bf16[64,64]) -> bf16[64,64] {
  %a.1 = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(0)
  ROOT %b.1 = bf16[64,64]{1,0:T(8,128)(2,1)} bitcast(%a.1)
}

%both (c: bf16[64,64], d: bf16[64,64]) -> bf16[64,64] {
  %c = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(0)
  %e = bf16[64,64]{1,0:T(8,128)(2,1)} fusion(%c), kind=kLoop, calls=%same
  %d = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(1)
  %f = bf16[64,64]{1,0:T(8,128)(2,1)} fusion(%d), kind=kLoop, calls=%same.1
  ROOT %g = bf16[64,64]{1,0:T(8,128)(2,1)} convolution(%e, %f), \
dim_labels=bf_io->bf
}
"""


def test_a_product_reads_what_fusions_hand_to_it():
  text = _program(
      _PRODUCT,
      [
          "%x = bf16[64,64]{1,0} parameter(0)",
          "%y = bf16[64,64]{1,0:S(1)} parameter(1)",
          "%p = bf16[64,64]{1,0} fusion(%x, %y), kind=kOutput, calls=%both",
      ],
  )
  assert hlo.read(text).traffic == 2 * 64 * 64 * 2  # y is on the chip
  both = text.replace("{1,0:S(1)}", "{1,0}")
  assert hlo.read(both).traffic == 3 * 64 * 64 * 2


def test_a_value_that_two_fusions_hand_on_in_a_tuple_is_followed():
  text = _program(
      """\
%two (a: f32[64], b: f32[64]) -> (f32[64], f32[64]) {
  %a = f32[64]{0} parameter(0)
  %b = f32[64]{0} parameter(1)
  ROOT %t = (f32[64]{0}, f32[64]{0}) tuple(%a, %b)
}

%outer (c: f32[64], d: f32[64]) -> f32[8] {
  %c = f32[64]{0} parameter(0)
  %d = f32[64]{0} parameter(1)
  %u = (f32[64]{0}, f32[64]{0}) fusion(%c, %d), kind=kLoop, calls=%two
  %e = f32[64]{0} get-tuple-element(%u), index=0
  %f = f32[64]{0} get-tuple-element(%u), index=1
  %g = f32[8]{0} slice(%e), slice={[0:8]}
  %h = f32[8]{0} reduce-window(%f)
  ROOT %i = f32[8]{0} add(%g, %h)
}
""",
      [
          "%x = f32[64]{0} parameter(0)",
          "%y = f32[64]{0} parameter(1)",
          "%z = f32[8]{0} fusion(%x, %y), kind=kLoop, calls=%outer",
      ],
  )
  assert hlo.read(text).traffic == 32 + 256 + 32  # of x eight, of y all


def test_a_fusion_that_only_renames_moves_all():
  text = _program(
      _PRODUCT,
      [
          "%x = bf16[64,64]{1,0} parameter(0)",
          "%p = bf16[64,64]{1,0} fusion(%x), kind=kLoop, calls=%same",
      ],
  )
  assert hlo.read(text).traffic == 2 * 64 * 64 * 2


_SCATTERED_SUM = """\
%sum (a: bf16[], b: bf16[]) -> bf16[] {
  %a = bf16[] parameter(0)
  %b = bf16[] parameter(1)
  ROOT %c = bf16[] add(%a, %b)
}

%all-reduce-scatter (input: bf16[60,8]) -> bf16[16,8] {
  %input = bf16[60,8]{1,0} parameter(0)
  %zero = bf16[] constant(0)
  %pad = bf16[64,8]{1,0} pad(%input, %zero), padding=0_4x0_0
  %all-reduce.1 = bf16[64,8]{1,0} all-reduce(%pad), channel_id=2, \
replica_groups={{0,1,2,3}}, use_global_device_ids=true, to_apply=%sum
  %me = u32[] partition-id()
  %rows = u32[] constant(16)
  %from = u32[]{:T(128)} multiply(%me, %rows)
  %none = u32[] constant(0)
  ROOT %mine = bf16[16,8]{1,0} dynamic-slice(%all-reduce.1, %from, %none), \
dynamic_slice_sizes={16,8}
}
"""


def test_a_sum_in_a_fusion_of_which_a_part_is_taken_is_scattered():
  text = _program(
      _SCATTERED_SUM,
      [
          "%x = bf16[60,8]{1,0} parameter(0)",
          "%y = bf16[16,8]{1,0} fusion(%x), kind=kCustom,"
          " calls=%all-reduce-scatter",
      ],
  )
  found = hlo.read(text)
  assert found.collectives == {"reduce-scatter": (1, 64 * 8 * 2)}  # padded
  assert found.traffic == 60 * 8 * 2 + 16 * 8 * 2
  several = text.replace(
      "  %me =",
      "  %two = (bf16[64,8]{1,0}, bf16[64,8]{1,0}) all-reduce(%pad, %pad),"
      " channel_id=4, to_apply=%sum\n"
      "  %one = bf16[64,8]{1,0} get-tuple-element(%two), index=1\n"
      "  %part = bf16[16,8]{1,0} dynamic-slice(%one, %zero, %zero)\n"
      "  %me =",
  )
  size = 3 * 64 * 8 * 2
  assert hlo.read(several).collectives == {"reduce-scatter": (2, size)}
  kept = text.replace("dynamic-slice(%all", "negate(%all")
  assert hlo.read(kept).collectives == {"all-reduce": (1, 64 * 8 * 2)}


_ASYNCHRONOUS = """\
%start (p: f32[8,64]) -> (f32[8,64], f32[32,64], s32[2]) {
  %p = f32[8,64]{1,0} parameter(0)
  %all-gather.1 = f32[32,64]{1,0} all-gather(%p), channel_id=3, dimensions={0}
  ROOT %begun = (f32[8,64]{1,0}, f32[32,64]{1,0}, s32[2]{0:S(4)}) \
custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%beside (p.1: f32[8,64], q.1: f32[32,64], f.1: s32[2], r: f32[64]) -> \
(f32[64], f32[8,64], f32[32,64], f32[32,64], s32[2]) {
  %p.1 = f32[8,64]{1,0} parameter(0)
  %q.1 = f32[32,64]{1,0} parameter(1)
  %f.1 = s32[2]{0:S(4)} parameter(2)
  %r = f32[64]{0} parameter(3)
  %s = f32[64]{0} negate(%r)
  %all-gather.2 = f32[32,64]{1,0} all-gather(%p.1), channel_id=3, \
dimensions={0}
  ROOT %t = (f32[64]{0}, f32[8,64]{1,0}, f32[32,64]{1,0}, f32[32,64]{1,0}, \
s32[2]{0:S(4)}) tuple(%s, %p.1, %q.1, %all-gather.2, %f.1)
}

%end (p.2: f32[8,64], q.2: f32[32,64], f.2: s32[2]) -> f32[32,64] {
  %p.2 = f32[8,64]{1,0} parameter(0)
  %q.2 = f32[32,64]{1,0} parameter(1)
  %all-gather.3 = f32[32,64]{1,0} all-gather(%p.2), channel_id=3, \
dimensions={0}
  %f.2 = s32[2]{0:S(4)} parameter(2)
  ROOT %got = f32[32,64]{1,0} custom-call(%p.2, %q.2, %all-gather.3, %f.2), \
custom_call_target="AsyncCollectiveDone"
}
"""


def test_a_collective_that_fusions_begin_and_end_moves_once():
  text = _program(
      _ASYNCHRONOUS,
      [
          "%x = f32[8,64]{1,0} parameter(0)",
          "%y = f32[64]{0} parameter(1)",
          "%go = (f32[8,64]{1,0}, f32[32,64]{1,0}, s32[2]{0:S(4)}) fusion(%x),"
          " kind=kCustom, output_to_operand_aliasing={{0}: (0, {})},"
          " calls=%start",
          "%a = f32[8,64]{1,0} get-tuple-element(%go), index=0",
          "%b = f32[32,64]{1,0} get-tuple-element(%go), index=1",
          "%c = s32[2]{0:S(4)} get-tuple-element(%go), index=2",
          "%on = (f32[64]{0}, f32[8,64]{1,0}, f32[32,64]{1,0}, f32[32,64]{1,0},"
          " s32[2]{0:S(4)}) fusion(%a, %b, %c, %y), kind=kOutput,"
          " output_to_operand_aliasing={{1}: (0, {}), {2}: (1, {}),"
          " {3}: (1, {}), {4}: (2, {})}, calls=%beside",
          "%d = f32[8,64]{1,0} get-tuple-element(%on), index=1",
          "%e = f32[32,64]{1,0} get-tuple-element(%on), index=3",
          "%f = s32[2]{0:S(4)} get-tuple-element(%on), index=4",
          "%z = f32[32,64]{1,0} fusion(%d, %e, %f), kind=kCustom,"
          " output_to_operand_aliasing={{}: (1, {})}, calls=%end",
      ],
  )
  found = hlo.read(text)
  part = 8 * 64 * 4
  assert found.collectives == {"all-gather": (1, 4 * part)}
  assert found.traffic == part + 4 * part + 2 * 64 * 4


@pytest.mark.parametrize(
    ("shape", "call", "moved"),
    [
        # What starts names its operands beside its results.
        ("((f32[64]{0}), f32[16]{0:S(1)}, s32[]{:S(2)})", "slice", 16 * 4),
        ("((f32[64]{0}), f32[16]{0}, s32[]{:S(2)})", "slice", 2 * 16 * 4),
        ("((f32[64]{0}), f32[64]{0})", "all-to-all", 2 * 64 * 4),
        ("((f32[64]{0}), f32[16]{0})", "reduce-scatter", (64 + 16) * 4),
        ("(f32[64]{0}, f32[256]{0})", "all-gather", (64 + 256) * 4),
        ("f32[64]{0}", "all-reduce", 2 * 64 * 4),
    ],
)
def test_what_starts_writes_its_results_alone(shape, call, moved):
  text = _program(
      "",
      [
          "%x = f32[64]{0} parameter(0)",
          f"%go = {shape} {call}-start(%x), channel_id=1",
          f"%y = f32[16]{{0}} {call}-done(%go)",
      ],
  )
  found = hlo.read(text)
  assert found.traffic == moved
  sizes = {"all-gather": 256 * 4, "slice": None}
  size = sizes.get(call, 64 * 4)
  assert found.collectives == ({call: (1, size)} if size else {})


def test_a_slice_onto_the_chip_is_read():
  text = _program(
      "",
      [
          "%x = f32[64]{0} parameter(0)",
          "%y = f32[16]{0:S(1)} slice(%x), slice={[0:16]}",
      ],
  )
  assert hlo.read(text).traffic == 16 * 4


_SCATTER = """\
%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

%put (t: f32[4096,8], i: s32[2], u: f32[2,8]) -> f32[4096,8] {
  %t = f32[4096,8]{1,0} parameter(0)
  %i = s32[2]{0} parameter(1)
  %u = f32[2,8]{1,0} parameter(2)
  ROOT %s = f32[4096,8]{1,0} scatter(%t, %i, %u), update_window_dims={1}, \
to_apply=%sum
}
"""


@pytest.mark.parametrize(
    "call",
    ["fusion(%x, %i, %u), kind=kCustom, calls=%put", "scatter(%x, %i, %u)"],
)
def test_a_scatter_moves_what_it_changes(call):
  text = _program(
      _SCATTER,
      [
          "%x = f32[4096,8]{1,0} parameter(0)",
          "%i = s32[2]{0} parameter(1)",
          "%u = f32[2,8]{1,0} parameter(2)",
          f"%y = f32[4096,8]{{1,0}} {call}",
      ],
  )
  assert hlo.read(text).traffic == 2 * 4 + 3 * 2 * 8 * 4


@pytest.mark.parametrize(
    ("kind", "bits"),
    [("f8e4m3fn", 8), ("f8e5m2", 8), ("f8e8m0fnu", 8), ("f4e2m1fn", 4),
     ("s4", 4), ("u4", 4), ("s2", 2), ("u1", 1)],
)  # fmt: skip
def test_small_elements_have_their_size(kind, bits):
  lines = [f"%x = {kind}[64]{{0}} parameter(0)", f"%y = {kind}[64] negate(%x)"]
  assert hlo.read(_program("", lines)).traffic == 2 * 64 * bits / 8


def test_elements_of_an_unknown_kind_are_refused():
  lines = ["%x = q7[64]{0} parameter(0)", "%y = q7[64]{0} negate(%x)"]
  with pytest.raises(hlo.Unreadable, match="q7: bytes of an element"):
    hlo.read(_program("", lines))
