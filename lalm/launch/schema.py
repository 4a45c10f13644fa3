"""The fields of a sweep's configuration: kind, range, default and meaning.

One table (`FIELDS`) is read by everything that needs to know a field: the
defaults, the check of what a user gave, and `--help`. A value may come from a
configuration file (a Python value) or from the command line (text), so each
kind reads both.
"""

import math
import operator
import re
from typing import Any, Callable, Mapping, NamedTuple

from lalm.measure.targets import hardware

LARGEST = 2**40  # no width beyond this is meant seriously
LONGEST = 2**30  # tokens; positions are int32
_LONGEST = 80  # characters of a refused value that are shown


class UsageError(Exception):
  """A flag that cannot be used, in one line: the flag, expected, what came."""

  def __init__(self, flag: str, expected: str, got: Any) -> None:
    self.flag = flag
    super().__init__(one_line(f"{flag}: expected {expected}; got {shown(got)}"))


def shown(value: Any) -> str:
  """A value as a message shows it: quoted when text, cut when long."""
  if isinstance(value, Verbatim):
    return str(value)
  parts = value if isinstance(value, tuple) and value else (value,)
  text = ", ".join(map(repr, parts))
  return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def one_line(text: str) -> str:
  """The text with line breaks and runs of white space made single spaces."""
  return " ".join(text.split())


class Verbatim(str):
  """Words that `UsageError` prints as they are, without quotes."""


class Kind(NamedTuple):
  """How a value is read; `read` raises ValueError for any other value."""

  expected: str
  read: Callable[[Any], Any]


def whole(low: int, high: int = LARGEST) -> Kind:
  """An integer from `low` to `high`."""

  def read(value: Any) -> int:
    if isinstance(value, str):
      if not re.fullmatch(r"[+-]?[0-9]{1,20}", value.strip()):
        raise ValueError(value)
      value = int(value)
    if isinstance(value, bool):
      raise ValueError(value)
    number = operator.index(value)
    if not low <= number <= high:
      raise ValueError(value)
    return number

  upper = "" if high == LARGEST else f" to {high}"
  return Kind(f"an integer from {low}{upper or ' up'}", read)


def positive(of: str = "a number of seconds") -> Kind:
  """A finite number greater than zero."""

  def read(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
      raise ValueError(value)
    number = float(value)
    if not (math.isfinite(number) and number > 0):
      raise ValueError(value)
    return number

  return Kind(f"{of} greater than 0", read)


def choice(*words: str) -> Kind:
  """One of the words."""

  def read(value: Any) -> str:
    if not isinstance(value, str) or value.strip() not in words:
      raise ValueError(value)
    return value.strip()

  return Kind(f"one of {', '.join(words)}", read)


def pattern(expected: str, expression: str) -> Kind:
  """Text that matches a regular expression as a whole."""

  def read(value: Any) -> str:
    if not isinstance(value, str) or not re.fullmatch(
        expression, value.strip()
    ):
      raise ValueError(value)
    return value.strip()

  return Kind(expected, read)


def truth() -> Kind:
  """True or false."""
  words = {"true": True, "1": True, "false": False, "0": False}

  def read(value: Any) -> bool:
    if isinstance(value, bool):
      return value
    if not isinstance(value, str) or value.strip().lower() not in words:
      raise ValueError(value)
    return words[value.strip().lower()]

  return Kind("true or false", read)


def optional(kind: Kind) -> Kind:
  """The kind, or None written as None, 0 or nothing."""

  def read(value: Any) -> Any:
    text = value.strip().lower() if isinstance(value, str) else value
    if text is None or text in ("", "none", "0"):
      return None
    if isinstance(value, int) and not isinstance(value, bool) and value == 0:
      return None
    return kind.read(value)

  return Kind(f"{kind.expected}, or 0 for the form's own", read)


def several(kind: Kind, *, at_least: int = 1) -> Kind:
  """Different values of a kind, separated by commas; read as a tuple.

  A list or tuple will do, and each text in it may hold commas again: that is
  how an override of a tuple arrives from ml_collections.
  """

  def read(value: Any) -> tuple[Any, ...]:
    items = tuple(kind.read(item) for item in _items(value))
    if len(items) < at_least or len(set(items)) != len(items):
      raise ValueError(value)
    return items

  expected = f"{kind.expected}; several, all different, with commas between"
  return Kind(expected, read)


def _items(value: Any) -> list[Any]:
  if isinstance(value, (list, tuple)):
    return [item for part in value for item in _split(part)]
  return _split(value)


def _split(value: Any) -> list[Any]:
  """Splits text at commas; brackets around it are allowed."""
  if not isinstance(value, str):
    return [value]
  text = value.strip()
  if text[:1] + text[-1:] in ("()", "[]"):
    text = text[1:-1].strip().removesuffix(",")
  return [item.strip() for item in text.split(",")] if text else []


class Field(NamedTuple):
  """One field of a sweep.

  Attributes:
    kind: how it is read.
    default: its value where none is given.
    meaning: a few words.
    point: name under which a point holds it, or one value of several; "" where
      it says how points are made or measured.
  """

  kind: Kind
  default: Any
  meaning: str
  point: str = ""


_NAME = r"[A-Za-z_]\w*"
_PATH = rf"{_NAME}(\.{_NAME})*"
_MECHANISM = rf"{_NAME}|{_PATH}:{_PATH}"

FIELDS: Mapping[str, Field] = {
    "mechanisms": Field(
        several(pattern("a mechanism, package.module:NAME or all", _MECHANISM)),
        ("softmax", "linear"),
        "mechanisms of the catalogue, all, or package.module:NAME",
    ),
    "forms": Field(
        several(
            pattern(
                "a form or mechanism.form",
                rf"({_MECHANISM}|{_PATH}:{_PATH}\.{_NAME}|{_PATH})",
            ),
            at_least=0,
        ),
        (),
        "forms to compute them by; empty: the featured ones of each",
    ),
    "lengths": Field(
        several(whole(1, LONGEST)),
        (256, 512, 1024, 2048, 4096, 8192),
        "sequence lengths",
        "length",
    ),
    "passes": Field(
        several(choice("forward", "forward_backward")),
        ("forward", "forward_backward"),
        "what is computed: the value, or the value and all gradients",
        "pass",
    ),
    "batch": Field(several(whole(1)), (1,), "sequences in a batch", "batch"),
    "heads": Field(whole(1), 8, "heads", "heads"),
    "width": Field(whole(1), 64, "width of a query and of a key", "width"),
    "value_width": Field(whole(1), 64, "width of a value", "value_width"),
    "dtype": Field(
        several(choice("float32", "bfloat16", "float16", "float64")),
        ("float32",),
        "types of the inputs",
        "dtype",
    ),
    "causal": Field(
        truth(), True, "whether a query sees the past only", "causal"
    ),
    "chunk": Field(
        optional(whole(1)),
        None,
        "tokens in a chunk or block; 0: the form's",
        "chunk",
    ),
    "replicates": Field(whole(1, 1000), 5, "worker processes per point"),
    "point_budget": Field(
        positive(), 2.0, "seconds of timing at a point (three calls at least)"
    ),
    "budget": Field(positive(), 270.0, "seconds for the whole sweep"),
    "allowance": Field(
        positive(),
        60.0,
        "seconds beyond its timing after which a point counts as hanging",
    ),
    "corpus": Field(
        pattern("a path, news, normal or nothing", r".*"),
        "",
        "text behind the inputs: a path, news (English stories, with the "
        "package gensim), normal (Gaussian), or nothing for the sources of "
        "Python's standard library",
        "corpus",
    ),
    "seed": Field(
        whole(0, 2**31 - 1), 0, "seed of inputs and of the order", "seed"
    ),
}

LOCAL = "local"
_MACHINES = ", ".join(hardware.MACHINES)
# Of experiments that sweep kernels, which can be compiled for other machines.
TARGETS: Mapping[str, Field] = {
    "target": Field(
        several(choice(LOCAL, *hardware.MACHINES)),
        (LOCAL,),
        f"what to measure, local, or machines to compile for: {_MACHINES}",
    )
}
# Of experiments that only compile.
ABSENT = Field(
    several(choice(*hardware.MACHINES)),
    tuple(hardware.MACHINES),
    f"machines to compile for: {_MACHINES}",
)

# Of experiments that open a trained model.
WEIGHTS = Field(
    pattern("minilm, own or a path", r".+"),
    "own",
    "a safetensors file; minilm: that of its package; own: our own model",
    "weights",
)
# And what such a model has of its own.
MODELS_OWN: Mapping[str, Any] = {
    "passes": ("forward",), "heads": 1, "width": 1, "value_width": 1,
    "dtype": ("float32",), "causal": True, "chunk": None,
}  # fmt: skip
# Where no text is read either.
WEIGHTS_ALONE: Mapping[str, Any] = {
    **MODELS_OWN, "lengths": (1,), "batch": (1,), "corpus": "",
}  # fmt: skip

Fields = Mapping[str, Field]
Settings = dict[str, Any]


def defaults(fields: Fields = FIELDS) -> Settings:
  """Every field's default value."""
  return {name: field.default for name, field in fields.items()}


def settle(values: Mapping[str, Any], fields: Fields = FIELDS) -> Settings:
  """Every field's value, checked, defaults included.

  Args:
    values: values of some fields, as text or as Python values.
    fields: those there are.

  Raises:
    UsageError: a field is unknown or a value is not of its kind.
  """
  settings = defaults(fields)
  for name, value in values.items():
    if name not in fields:
      unknown = Verbatim(f"the unknown field {shown(name)}")
      raise UsageError("--config", f"the fields {', '.join(fields)}", unknown)
    kind = fields[name].kind
    try:
      settings[name] = kind.read(value)
    except (ValueError, TypeError, OverflowError):
      raise UsageError(f"--config.{name}", kind.expected, value) from None
  return settings
