"""Costs of a program's text are those of what runs, as often as it runs."""

import pytest

from lalm.measure.targets import hlo

_MODULE = """\
HloModule test, is_scheduled=true, num_partitions=4

%inner (p.0: f32[64,8], p.1: s32[]) -> f32[1,8] {
  %p.0 = f32[64,8]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %row = f32[1,8]{1,0} dynamic-slice(%p.0, %p.1, %zero), \
dynamic_slice_sizes={1,8}
}

%outer (q.0: f32[64,8], q.1: s32[], q.2: f32[64,8]) -> f32[64,8] {
  %q.2 = f32[64,8]{1,0} parameter(2)
  %q.0 = f32[64,8]{1,0} parameter(0)
  %q.1 = s32[]{:T(128)} parameter(1)
  %taken = f32[1,8]{1,0} fusion(%q.0, %q.1), kind=kLoop, calls=%inner
  %twice = f32[1,8]{1,0} add(%taken, %taken)
  %none = s32[] constant(0)
  ROOT %put = f32[64,8]{1,0} dynamic-update-slice(%q.2, %twice, %q.1, %none)
}

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

%body (t: (s32[], f32[64,8], f32[64,8], s32[])) -> (s32[], f32[64,8], \
f32[64,8], s32[]) {
  %t = (s32[], f32[64,8]{1,0}, f32[64,8]{1,0}, /*index=3*/s32[]) parameter(0)
  %i = s32[]{:S(6)} get-tuple-element(%t), index=0
  %x = f32[64,8]{1,0} get-tuple-element(%t), index=1
  %y = f32[64,8]{1,0} get-tuple-element(%t), index=2
  %end = s32[] get-tuple-element(%t), index=3
  %one = s32[] constant(1)
  %next = s32[]{:S(6)} add(%i, %one)
  %new = f32[64,8]{1,0} fusion(%x, %i, %y), kind=kLoop, calls=%outer, \
backend_config={"window_config":{"estimated_cycles":"100"}}
  %all = f32[64,8]{1,0:S(1)} all-reduce(%new), channel_id=1, to_apply=%sum
  ROOT %u = (s32[], f32[64,8]{1,0}, f32[64,8]{1,0}, s32[]) tuple(%next, %x, \
%new, %end)
}

%test (s: (s32[], f32[64,8], f32[64,8], s32[])) -> pred[] {
  %s = (s32[], f32[64,8]{1,0}, f32[64,8]{1,0}, s32[]) parameter(0)
  %j = s32[] get-tuple-element(%s), index=0
  %n = s32[] get-tuple-element(%s), index=3
  ROOT %less = pred[] compare(%j, %n), direction=LT
}

ENTRY %main (x.1: f32[64,8]) -> f32[256,8] {
  %x.1 = f32[64,8]{1,0:T(8,128)} parameter(0)
  %start = s32[] constant(2)
  %begin = s32[]{:S(6)} copy(%start)
  %stop = s32[] constant(66)
  %exp = f32[64,8]{1,0:T(8,128)S(1)} exponential(%x.1)
  %tuple = (s32[], f32[64,8]{1,0}, f32[64,8]{1,0}, s32[]) tuple(%begin, %x.1, \
%x.1, %stop)
  %loop = (s32[], f32[64,8]{1,0}, f32[64,8]{1,0}, s32[]) while(%tuple), \
condition=%test, body=%body
  %got = f32[64,8]{1,0} get-tuple-element(%loop), index=2
  %go = (f32[64,8]{1,0}, f32[256,8]{1,0}) all-gather-start(%got), \
channel_id=2, dimensions={0}
  ROOT %done = f32[256,8]{1,0} all-gather-done(%go)
}
"""
_ARRAY, _ROW = 64 * 8 * 4, 8 * 4
_TILED = 64 * 128 * 4  # of an array that is held in whole tiles


def test_a_loop_counts_as_often_as_it_turns():
  found = hlo.read(_MODULE)
  # In a turn: end and constant beside the counter on the chip move 4 + 4; the
  # fusion reads a row and writes one; the sum is read, and kept on the chip.
  turn = 4 + 2 * _ROW + _ARRAY
  test = 4 + 4 + 1
  outside = 4 + _TILED + (_ARRAY + 4 * _ARRAY)  # copy, exp, gather
  assert found.traffic == 64 * (turn + test) + outside
  assert found.cycles == 64 * 100
  assert found.collectives == {
      "all-reduce": (64, 64 * _ARRAY),
      "all-gather": (1, 4 * _ARRAY),
  }


def test_the_compilers_word_on_a_loop_stands():
  told = _MODULE.replace(
      "body=%body",
      'body=%body, backend_config={"known_trip_count":{"n":"5"}}',
  )
  assert hlo.read(told).cycles == 500


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("direction=LT", "direction=EQ"),
        ("%stop = s32[] constant(66)", "%stop = s32[] negate(%start)"),
    ],
)
def test_a_loop_of_unknown_length_is_refused(old, new):
  with pytest.raises(hlo.Unreadable, match="loop: its number of turns"):
    hlo.read(_MODULE.replace(old, new))


def test_of_branches_the_dearest_counts():
  text = """\
HloModule branches

%cheap (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %n = f32[8]{0} negate(%a)
}

%dear (b: f32[8]) -> f32[8] {
  %b = f32[8]{0} parameter(0)
  %m = f32[8]{0} negate(%b)
  ROOT %o = f32[8]{0} add(%m, %b)
}

ENTRY %main (p: pred[], x: f32[8]) -> f32[8] {
  %p = pred[]{:S(6)} parameter(0)
  %x = f32[8]{0} parameter(1)
  ROOT %r = f32[8]{0} conditional(%p, %x, %x), true_computation=%cheap, \
false_computation=%dear
}
"""
  assert hlo.read(text).traffic == (2 + 3) * 32


def test_a_scattered_sum_counts_what_goes_in():
  text = """\
HloModule scatter

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %c = f32[] add(%a, %b)
}

ENTRY %main (x: f32[64]) -> f32[16] {
  %x = f32[64]{0} parameter(0)
  ROOT %y = f32[16]{0} reduce-scatter(%x), dimensions={0}, to_apply=%sum
}
"""
  assert hlo.read(text).collectives == {"reduce-scatter": (1, 256.0)}


def test_what_starts_and_is_done_moves_once():
  text = """\
HloModule copies

ENTRY %main (x: bf16[4,8]) -> bf16[4,8] {
  %x = bf16[4,8]{1,0} parameter(0)
  %go = (bf16[4,8]{1,0:S(1)}, bf16[4,8]{1,0}, u32[]{:S(2)}) copy-start(%x)
  %in = bf16[4,8]{1,0:S(1)} copy-done(%go)
  ROOT %y = bf16[4,8]{1,0} negate(%in)
}
"""
  assert hlo.read(text).traffic == 2 * 64


@pytest.mark.parametrize(
    ("shape", "held"),
    [
        ("bf16[64,64]{1,0}", 64 * 64 * 2),
        ("bf16[64,64]{1,0:T(8,128)(2,1)}", 64 * 128 * 2),
        ("bf16[64,60]{0,1:T(8,128)(2,1)}", 64 * 128 * 2),
        ("f32[5,3,130]{2,1,0:T(8,128)}", 5 * 8 * 256 * 4),
        ("f32[5,3,130]{0,2,1:T(8,128)}", 3 * 136 * 128 * 4),
        ("f32[5]{0:T(128)}", 128 * 4),
        ("f32[]{:T(128)}", 4),
        ("s32[3,256]{1,0:T(4,128)}", 4 * 256 * 4),
    ],
)
def test_what_is_held_in_tiles_moves_in_tiles(shape, held):
  text = f"""\
HloModule tiles

ENTRY %main (x: f32[]) -> f32[] {{
  %x = {shape} parameter(0)
  ROOT %y = {shape} negate(%x)
}}
"""
  assert hlo.read(text).traffic == 2 * held


@pytest.mark.parametrize("name", ["AllocateBuffer", "ConcatBitcast"])
def test_memory_that_is_only_set_aside_moves_nothing(name):
  text = f"""\
HloModule aside

ENTRY %main () -> f32[8] {{
  ROOT %x = f32[8]{{0}} custom-call(), custom_call_target="{name}"
}}
"""
  assert hlo.read(text).traffic == 0
  assert hlo.read(text.replace(name, "Another")).traffic == 32


def test_names_of_a_user_are_no_instructions():
  odd = 'metadata={op_name="jit(f)/calls={%nothing}/index=7 \\"a}b\\"" line=3}'
  named = _MODULE.replace("calls=%inner", f"calls=%inner, {odd}")
  named = named.replace("index=2\n", f"index=2, {odd}\n")
  assert odd in named and hlo.read(named) == hlo.read(_MODULE)
