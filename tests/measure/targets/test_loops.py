"""Loops turn as often as their counters say, or are refused."""

import pytest

from lalm.measure.targets import hlo

_LOOP = """\
HloModule loop

%fused (f: s32[], g: s32[]) -> s32[] {
  %f = s32[] parameter(0)
  %g = s32[] parameter(1)
  ROOT %h = s32[] add(%f, %g)
}

%body (t: (s32[], s32[], s32[])) -> (s32[], s32[], s32[]) {
  %t = (s32[], s32[], s32[]) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %end = s32[] get-tuple-element(%t), index=1
  %by = s32[] get-tuple-element(%t), index=2
  %copy = s32[]{:S(6)} copy(%i)
  %one = s32[]{:S(6)} constant(1)
  %next = s32[]{:S(6)} add(%copy, %one)
  %work = s32[]{:S(6)} negate(%one), backend_config={"estimated_cycles":"1"}
  ROOT %u = (s32[], s32[], s32[]) tuple(%next, %end, %by)
}

%test (s: (s32[], s32[], s32[])) -> pred[] {
  %s = (s32[], s32[], s32[]) parameter(0)
  %j = s32[] get-tuple-element(%s), index=0
  %limit = s32[] get-tuple-element(%s), index=1
  ROOT %less = pred[] compare(%j, %limit), direction=LT
}

ENTRY %main (given: s32[]) -> s32[] {
  %given = s32[] parameter(0)
  %start = s32[] constant(2)
  %stop = s32[] constant(66)
  %three = s32[] constant(3)
  %tuple = (s32[], s32[], s32[]) tuple(%start, %stop, %three)
  %loop = (s32[], s32[], s32[]) while(%tuple), condition=%test, body=%body
  ROOT %got = s32[] get-tuple-element(%loop), index=0
}
"""
_NEXT = "%next = s32[]{:S(6)} add(%copy, %one)"
_TUPLE = "tuple(%start, %stop, %three)"
_MORE = "compare(%limit, %j), direction=GT"
_LESS = "  ROOT %less = pred[] compare(%j, %limit), direction=LT\n"
_WORDS = """\
  %high = s32[] get-tuple-element(%s), index=2
  %c = s32[] constant(3)
  %same = pred[] compare(%high, %c), direction=EQ
  %low = pred[] compare(%j, %limit), direction=LT
  %signed = s32[] bitcast-convert(%high)
  %under = pred[] compare(%signed, %c), direction=LT
  %and = pred[] and(%same, %low)
  ROOT %less = pred[] or(%under, %and)
"""


@pytest.mark.parametrize(
    ("old", "new", "turns"),
    [
        ("", "", 64),
        ("%one = s32[]{:S(6)} constant(1)", "%one = s32[] constant(5)", 13),
        (_NEXT, "%next = s32[] add(%by, %copy)", 22),
        (
            _NEXT,
            "%next = s32[] fusion(%copy, %one), kind=kLoop, calls=%fused",
            64,
        ),
        (
            _NEXT,
            "%next = s32[] fusion(%i, %by), kind=kLoop, calls=%fused",
            22,
        ),
        ("index=1\n  ROOT %less", "index=2\n  ROOT %less", 1),
        ("direction=LT", "direction=LE", 65),
        ("direction=LT", "direction=NE", 64),
        ("direction=LT", "direction=GT", 0),
        ("compare(%j, %limit), direction=LT", _MORE, 64),
    ],
)
def test_a_counter_says_how_often_a_loop_turns(old, new, turns):
  assert hlo.read(_LOOP.replace(old, new)).cycles == turns


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # doubled, by nothing, past its limit, or by what is not known
        (_NEXT, "%next = s32[] multiply(%copy, %by)"),
        (_NEXT, "%next = s32[] add(%copy, %copy)"),
        ("%one = s32[]{:S(6)} constant(1)", "%one = s32[] constant(0)"),
        ("%one = s32[]{:S(6)} constant(1)", "%one = s32[] constant(-1)"),
        (_TUPLE, "tuple(%given, %stop, %three)"),
        # another element's successor, a limit that is not known or changes
        ("tuple(%next, %end, %by)", "tuple(%by, %end, %next)"),
        (_TUPLE, "tuple(%start, %given, %three)"),
        ("tuple(%next, %end, %by)", "tuple(%next, %next, %by)"),
        ("tuple(%next, %end, %by)", "tuple(%next, %by, %end)"),
        ("direction=LT", "direction=EQ"),
    ],
)
def test_a_loop_whose_turns_are_not_known_is_refused(old, new):
  with pytest.raises(hlo.Unreadable, match="loop: its number of turns"):
    hlo.read(_LOOP.replace(old, new))


def test_downwards_it_turns_as_often_as_it_fits():
  text = _LOOP.replace("constant(1)", "constant(-3)").replace("(66)", "(-4)")
  text = text.replace("direction=LT", "direction=GE")
  assert hlo.read(text).cycles == 3  # 2, -1, -4


def test_of_a_counter_in_two_words_the_lower_one_counts():
  assert hlo.read(_LOOP.replace(_LESS, _WORDS)).cycles == 64
  other = _WORDS.replace("%c = s32[] constant(3)", "%c = s32[] constant(4)")
  with pytest.raises(hlo.Unreadable, match="loop: its number of turns"):
    hlo.read(_LOOP.replace(_LESS, other))


def test_a_step_that_is_an_argument_is_refused():
  text = _LOOP.replace(_NEXT, "%next = s32[] add(%copy, %by)")
  text = text.replace(_TUPLE, "tuple(%start, %stop, %given)")
  with pytest.raises(hlo.Unreadable, match="loop: its number of turns"):
    hlo.read(text)


def test_an_unsigned_counter_that_goes_down_is_refused():
  told = (
      'body=%body, backend_config={"known_trip_count":{"n":"1"},'
      '"known_init_step":{"init":"9","step":"STEP"}}'
  )
  known = _LOOP.replace("body=%body", told.replace("STEP", "1"))
  assert hlo.read(known).cycles == 1
  with pytest.raises(hlo.Unreadable, match="loop: its counter goes down"):
    hlo.read(_LOOP.replace("body=%body", told.replace("STEP", "4294967295")))
