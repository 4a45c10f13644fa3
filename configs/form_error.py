"""Rounding errors of every form, beside its definition in float64."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("all",)
  config.forms = ()  # all of them
  config.lengths = (512, 8192, 131072)
  config.passes = ("forward",)

  config.batch = 1
  config.heads = 1
  config.width = 32
  config.value_width = 32
  config.dtype = ("float32", "bfloat16")
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 1  # another is of other rows
  config.point_budget = 0.01  # seconds; nothing is timed
  config.budget = 1800.0  # seconds
  config.allowance = 120.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config
