"""Ranks of the off-diagonal blocks of every mechanism's matrix."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("all",)
  config.forms = ()
  config.lengths = (64, 128, 256, 512, 1024)
  config.passes = ("forward",)

  config.batch = 1
  config.heads = 2
  config.width = 16
  config.value_width = 16
  config.dtype = "float64"  # ranks above rounding are those of the mathematics
  config.causal = True
  config.chunk = 0
  config.window = 64  # tokens
  config.horizon = 64  # tokens

  config.replicates = 3  # stretches of text
  config.point_budget = 0.1  # seconds; nothing is timed
  config.budget = 1200.0  # seconds
  config.allowance = 120.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config
