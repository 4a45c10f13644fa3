"""The command line of an experiment, checked: a `Request` or a `UsageError`.

  --config=FILE           a Python file whose get_config() returns the fields
  --config.FIELD=VALUE    one field of it (see `lalm.launch.schema.FIELDS`)
  --out=DIR               where results go
  --worker=i/n            only every n-th point, beginning with the i-th
  --dry_run               say what would be done, write nothing

The flags are absl's, the overrides those of ml_collections; both are parsed
into a private set, so that several command lines may be read in one process.
"""

import os
import pathlib
import re
import tempfile
import types
from typing import Any, Mapping, NamedTuple, Sequence

from absl import flags
from ml_collections import config_dict
from ml_collections import config_flags

from lalm.launch import schema
from lalm.launch.schema import UsageError, Verbatim

_OWN = "--config=FILE, --config.FIELD=VALUE, --out, --worker, --dry_run, --help"


class Request(NamedTuple):
  """What a user asked for.

  Attributes:
    settings: every field of the configuration.
    out: the folder of the results.
    worker: (i, n): take points i, i + n, i + 2 n, ...
    dry_run: whether to write nothing and measure nothing.
  """

  settings: schema.Settings
  out: pathlib.Path
  worker: tuple[int, int]
  dry_run: bool


def parse(
    argv: Sequence[str],
    *,
    config: str,
    out: str,
    fields: schema.Fields = schema.FIELDS,
    corpora: Sequence[str] = ("", "news", "normal"),
) -> Request:
  """Reads a command line.

  Args:
    argv: the program's name and its arguments.
    config: the configuration file where `--config` is not given.
    out: the folder where `--out` is not given.
    fields: those of the configuration.
    corpora: names of texts that are no paths.

  Raises:
    UsageError: anything about it is malformed.
  """
  own, rest = _own_flags(argv, config, out)
  settings = schema.settle(load(own.config), fields)
  settings = schema.settle(settings | _overrides(rest, fields), fields)
  _check_corpus(settings["corpus"], corpora)
  if not own.out:
    raise UsageError("--out", "a folder", own.out)
  return Request(
      settings, pathlib.Path(own.out), _share(own.worker), own.dry_run
  )


def help_wanted(argv: Sequence[str]) -> bool:
  """Whether the arguments ask for help."""
  return any(
      argument in ("-h", "-help", "--help", "--helpfull", "--helpshort")
      for argument in argv[1:]
  )


def help_text(
    summary: str, config: str, fields: schema.Fields = schema.FIELDS
) -> str:
  """The flags and fields, a line each, with the defaults of a config file."""
  lines = [summary, "", __doc__.split("\n\n")[1], "", "Fields:"]
  settings = schema.settle(load(config), fields)
  for name, field in fields.items():
    default = settings[name]
    if isinstance(default, tuple):
      default = ",".join(map(str, default))
    lines.append(f"  {name:13} {field.meaning} [{default}]")
  return "\n".join(lines)


def _own_flags(
    argv: Sequence[str], config: str, out: str
) -> tuple[Any, list[str]]:
  """Parses the flags that are not fields; returns them and the rest."""
  values = flags.FlagValues()
  values.set_gnu_getopt(True)
  flags.DEFINE_string("config", config, "", flag_values=values)
  flags.DEFINE_string("out", out, "", flag_values=values)
  flags.DEFINE_string("worker", "0/1", "", flag_values=values)
  flags.DEFINE_boolean("dry_run", False, "", flag_values=values)
  rest = _parsed(values, argv, known_only=True)
  return values, rest


def _parsed(
    values: flags.FlagValues, argv: Sequence[str], known_only: bool = False
) -> list[str]:
  """Parses with absl; its errors become a `UsageError`."""
  try:
    return values(list(argv), known_only=known_only)
  except flags.UnrecognizedFlagError as error:
    unknown = Verbatim("an unknown flag")
    raise UsageError(f"--{error.flagname}", f"one of {_OWN}", unknown) from None
  except (flags.Error, ValueError, TypeError, OSError) as error:
    raise _refusal(error) from None


def _refusal(error: Exception) -> UsageError:
  """absl's complaint about a flag in this module's words."""
  text = schema.one_line(str(error))
  name = re.search(r"--?([A-Za-z_][\w.]*)(=(.*?):)?", text)
  if not name:
    return UsageError("--flagfile", "a readable file", Verbatim(text))
  expected = "a value"
  if "oolean" in text:
    expected = "true or false"
  if name[1] == "flagfile" or "flagfile" in text:
    return UsageError("--flagfile", "a readable file", Verbatim(text))
  got = name[3] if name[3] is not None else Verbatim("none")
  return UsageError(f"--{name[1]}", expected, got)


def _overrides(argv: Sequence[str], fields: schema.Fields) -> dict[str, Any]:
  """The fields given as `--config.FIELD=VALUE`, mostly still as text."""
  for argument in argv[1:]:
    if argument == "--":
      break
    match = re.match(r"--?(?:no)?config\.([^=]*)", argument)
    if match and match[1] not in fields:
      expected = f"a field: {', '.join(fields)}"
      unknown = Verbatim("an unknown field")
      raise UsageError(f"--config.{match[1]}", expected, unknown)
  # Fields are text here, so that a list such as softmax,linear or a refused
  # value arrives as it was typed; only truth values may stand without one.
  blank = config_dict.ConfigDict(
      {name: _blank(field) for name, field in fields.items()}
  )
  values = flags.FlagValues()
  values.set_gnu_getopt(True)
  try:
    holder = config_flags.DEFINE_config_dict(
        "config", blank, flag_values=values, sys_argv=list(argv)
    )
  except (flags.Error, ValueError, TypeError) as error:
    raise _refusal(error) from None
  stray = _parsed(values, argv)[1:]
  if stray:
    raise UsageError(
        schema.shown(stray[0]), f"only flags: {_OWN}", Verbatim("an argument")
    )
  given = config_flags.get_override_values(values["config"])
  del holder
  return dict(given)


def _blank(field: schema.Field) -> Any:
  return field.default if isinstance(field.default, bool) else ""


def load(name: str) -> dict[str, Any]:
  """The fields that a configuration file sets.

  Args:
    name: path of a Python file with a function `get_config`; what stands
      behind a colon is passed to it.

  Raises:
    UsageError: there is no such file, or it does not give fields.
  """
  path, _, argument = name.partition(":")
  if not os.path.isfile(path):
    raise UsageError("--config", "a Python file", name)
  module = types.ModuleType("config")
  module.__file__ = path
  try:
    with open(path, "rb") as file:
      exec(compile(file.read(), path, "exec"), module.__dict__)
  except (Exception, SystemExit) as error:
    raise UsageError(
        "--config", "a Python file that runs", _blame(name, error)
    ) from None
  get_config = getattr(module, "get_config", None)
  if not callable(get_config):
    expected = "a Python file with a function get_config"
    raise UsageError("--config", expected, name)
  try:
    config = get_config(*([argument] if argument else []))
  except (Exception, SystemExit) as error:
    raise UsageError(
        "--config", "a get_config() that returns", _blame(name, error)
    ) from None
  return _fields(name, config)


def _blame(name: str, error: BaseException) -> Verbatim:
  """`FILE: Error: message`, the message cut to its first line."""
  message = (str(error).splitlines() or [""])[0][:200]
  return Verbatim(f"{schema.shown(name)}: {type(error).__name__}: {message}")


def _fields(name: str, config: Any) -> dict[str, Any]:
  if isinstance(config, (config_dict.ConfigDict, config_dict.FrozenConfigDict)):
    config = config.to_dict()
  if not isinstance(config, Mapping) or not all(
      isinstance(key, str) for key in config
  ):
    expected = "a get_config() that returns a ConfigDict or a dict"
    got = Verbatim(f"{schema.shown(name)}: {schema.shown(config)}")
    raise UsageError("--config", expected, got)
  return dict(config)


def _check_corpus(corpus: str, corpora: Sequence[str]) -> None:
  if corpus in corpora:
    return
  named = ", ".join(filter(None, corpora))
  flag, expected = "--config.corpus", f"{named}, or a path that can be read"
  if not os.path.exists(corpus) or not os.access(corpus, os.R_OK):
    raise UsageError(flag, expected, corpus)
  path = pathlib.Path(corpus)
  files = [path] if path.is_file() else path.rglob("*")
  if not any(file.is_file() and file.stat().st_size for file in files):
    raise UsageError(flag, "a text that is not empty", corpus)


def _share(text: str) -> tuple[int, int]:
  """`i/n` with 0 <= i < n as two numbers."""
  match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
  index, count = (int(match[1]), int(match[2])) if match else (0, 0)
  if not index < count:
    raise UsageError("--worker", "i/n with i from 0 to n-1", text)
  return index, count


def check_out(
    folder: pathlib.Path, *, create: bool, flag: str = "--out"
) -> None:
  """Makes sure that files can be written into the folder.

  Args:
    folder: where they go.
    create: whether to make it and try; else what is there is looked at.
    flag: that has asked for it.

  Raises:
    UsageError: the folder cannot be made or written.
  """
  expected = "a folder that can be written"
  try:
    if not create:
      present = folder
      while not os.path.lexists(present) and present != present.parent:
        present = present.parent
      if not present.is_dir() or not os.access(present, os.W_OK):
        raise UsageError(flag, expected, str(folder))
      return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except (OSError, ValueError) as error:
    reason = getattr(error, "strerror", None) or str(error)
    got = Verbatim(f"{schema.shown(str(folder))}: {reason}")
    raise UsageError(flag, expected, got) from None
