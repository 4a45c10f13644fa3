"""One token more of many sequences at once: throughput against batch."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "window", "loglinear", "linear", "mamba2")
  config.forms = ()
  config.lengths = (1024,)  # context
  config.passes = ("step",)
  config.tokens = 16

  config.batch = (1, 4, 16, 64, 256)
  config.heads = 8
  config.width = 64
  config.value_width = 64
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 1.0  # seconds
  config.budget = 600.0  # seconds
  config.allowance = 60.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config
