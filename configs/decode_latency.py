"""One token more, from a context of 256 to one of 131,072."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("all",)
  config.forms = ()
  config.lengths = tuple(2**i for i in range(8, 18))  # contexts
  config.passes = ("step", "prefill")
  config.tokens = 16

  config.batch = 1
  config.heads = 8
  config.width = 64
  config.value_width = 64
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 1.0  # seconds
  config.budget = 3600.0  # seconds
  config.allowance = 60.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config
