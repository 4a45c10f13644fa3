"""What the command line and a config file may say, and what it comes to."""

import importlib
import pathlib
import subprocess
import sys

import pytest

from lalm.launch import flags
from lalm.launch import schema
from tests.launch import stub_sweep

_ROOT = pathlib.Path(__file__).parents[2]
_SUITE = "device_suite"  # of experiments, and none itself


def _stems(pattern):
  return sorted({path.stem for path in _ROOT.glob(pattern)} - {_SUITE})


_CONFIGS, _EXPERIMENTS = _stems("configs/*.py"), _stems("experiments/[a-z]*.py")


def test_a_list_may_be_typed_as_text_or_as_a_tuple():
  given = {
      "lengths": (
          "256,512",
          "(256, 512)",
          "[256,512,]",
          ("256,512",),
          [256, 512],
      ),
      "mechanisms": ("a.b:C,softmax", ("a.b:C,softmax",), ["a.b:C", "softmax"]),
      "passes": ("forward", ("forward",)),
  }
  wanted = {
      "lengths": (256, 512),
      "mechanisms": ("a.b:C", "softmax"),
      "passes": ("forward",),
  }
  for name, values in given.items():
    for value in values:
      assert schema.settle({name: value})[name] == wanted[name]


def test_overrides_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
  file = tmp_path / "config.py"
  file.write_text("def get_config(): return {'width': 3, 'heads': 5}")
  arguments = [f"--config={file}", "--config.heads=7", "--noconfig.causal"]
  settings = flags.parse(["x", *arguments], config="", out="o").settings
  named = {name: settings[name] for name in ("width", "heads", "causal")}
  assert named == {"width": 3, "heads": 7, "causal": False}
  rest = {n: v for n, v in settings.items() if n not in named}
  assert rest == {n: v for n, v in schema.defaults().items() if n not in named}


@pytest.mark.parametrize("kind", ["ConfigDict", "FrozenConfigDict", "dict"])
def test_a_config_may_be_of_any_of_three_types(tmp_path, kind):
  file = tmp_path / "config.py"
  file.write_text(
      "from ml_collections.config_dict import *\n"
      f"def get_config(x): return {kind}({{'width': 3, 'corpus': x}})"
  )
  request = flags.parse(["x", f"--config={file}:normal"], config="", out="o")
  assert request.settings["width"] == 3
  assert request.settings["corpus"] == "normal"


def test_flags_may_be_given_in_absl_ways(tmp_path):
  file = tmp_path / "flags"
  file.write_text("--config.width=3\n--worker=1/4\n")
  config = stub_sweep.EXPERIMENT.config
  arguments = [f"--flagfile={file}", "-config", str(config), "--config.heads"]
  request = flags.parse(
      [
          "x",
          *arguments,
          "5",
          "--dry_run",
          "--out",
          "there",
          "--config.chunk=None",
      ],
      config="none",
      out="o",
  )
  settings = request.settings
  assert request._replace(settings={}) == flags.Request(
      {}, pathlib.Path("there"), (1, 4), True
  )
  assert (settings["width"], settings["heads"], settings["chunk"]) == (
      3,
      5,
      None,
  )


@pytest.mark.parametrize("config", _CONFIGS)
def test_an_experiment_knows_every_field_of_a_committed_config(config):
  values = flags.load(str(_ROOT / "configs" / f"{config}.py"))
  refused = {}
  for name in [config] if config in _EXPERIMENTS else _EXPERIMENTS:
    module = importlib.import_module(f"experiments.{name}")
    try:
      schema.settle(values, module.EXPERIMENT.all_fields)
      return
    except schema.UsageError as error:
      refused[name] = str(error)
  pytest.fail(f"{config}: {refused}")


def test_every_stage_of_the_suite_is_an_experiment_that_knows_its_config():
  stages = flags.load(str(_ROOT / "configs" / f"{_SUITE}.py"))["stages"]
  for name, config, workers, *own in stages:
    module = importlib.import_module(f"experiments.{name}")
    argv = ["x", f"--config={_ROOT / config}"]
    argv += [f"--config.{field}" for field in own]
    fields = module.EXPERIMENT.all_fields
    request = flags.parse(argv, config="", out="o", fields=fields)
    for field in own:
      name, _, value = field.partition("=")
      assert request.settings[name] == fields[name].kind.read(value)
    assert workers >= 1


def test_an_experiment_may_have_fields_of_its_own():
  own = schema.Field(schema.several(schema.whole(1)), (2,), "of its own", "own")
  fields = {**schema.FIELDS, "own": own}
  config = str(stub_sweep.EXPERIMENT.config)
  argv = ["x", "--config.own=3,4"]
  request = flags.parse(argv, config=config, out="o", fields=fields)
  assert request.settings["own"] == (3, 4)
  line = next(
      line
      for line in flags.help_text("x", config, fields).splitlines()
      if line.split()[:1] == ["own"]
  )
  assert "of its own [2]" in line
  with pytest.raises(schema.UsageError, match="own: expected a field: mech"):
    flags.parse(argv, config=config, out="o")


def test_help_names_every_field_and_flag(call):
  outcome = call("--help")
  assert outcome.status == 0 and outcome.errors == ""
  for name in (*schema.FIELDS, "--out", "--worker", "--dry_run", "--config"):
    assert name in outcome.out
  # Defaults are those of the experiment's own file, not of the schema.
  assert "[16,32,64,128]" in outcome.out and "[60.0]" in outcome.out


def test_the_command_line_is_read_without_jax():
  text = (
      "import sys; from lalm.launch import command; print('jax' in sys.modules)"
  )
  answer = subprocess.run(
      [sys.executable, "-c", text], capture_output=True, text=True, check=True
  )
  assert answer.stdout == "False\n"
