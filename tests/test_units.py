"""Quantities as text for people."""

import pytest

from lalm import units


@pytest.mark.parametrize(
    "value, words",
    [
        (0.00123456, "1.23 ms"),
        (0.9999, "1.00 s"),
        (0.00099996, "1.00 ms"),
        (123.4, "123 s"),
        (12345.0, "12,345 s"),
        (5e-6, "5.00 us"),
        (3e-9, "3.00 ns"),
        (float("nan"), "-"),
        (None, "-"),
        (True, "-"),
    ],
)
def test_seconds_have_three_digits_and_a_unit(value, words):
  assert units.seconds(value) == words


@pytest.mark.parametrize(
    "value, words",
    [
        (0, "0.00 B"),
        (1023, "1,023 B"),
        (1024, "1.00 KiB"),
        (3 << 29, "1.50 GiB"),
        (1 << 60, "1,048,576 TiB"),
        (None, "-"),
    ],
)
def test_bytes_have_the_units_people_use(value, words):
  assert units.size(value) == words


def test_no_exponent_is_printed_as_minus_zero():
  assert units.exponent(-0.001, [-0.0049, 0.1]) == "0.00 [0.00, 0.10]"


def test_times_are_told_in_minutes_and_hours():
  assert [units.clock(s) for s in (-3, 0.4, 65, 3599.6, 3725)] == [
      "0:00",
      "0:00",
      "1:05",
      "1:00:00",
      "1:02:05",
  ]
