"""One token more: a scan of steps beside scaling its state."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("all",)
  config.forms = ()
  config.lengths = (256,)  # steps of the scan
  config.passes = ("forward",)

  config.batch = 64
  config.heads = 8
  config.width = 128
  config.value_width = 128
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 5
  config.point_budget = 2.0  # seconds
  config.budget = 1200.0  # seconds
  config.allowance = 60.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config
