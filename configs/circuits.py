"""The heads of MiniLM."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.weights = "minilm"  # or own, or a path
  config.mechanisms = ("heads",)
  config.forms = ()
  config.lengths = (1,)  # not used
  config.batch = 1  # not used
  config.corpus = ""  # not used

  config.replicates = 1
  config.point_budget = 1.0  # seconds; nothing is timed
  config.budget = 300.0  # seconds
  config.allowance = 300.0  # seconds
  config.seed = 0

  # Not used: the model has its own.
  config.passes = ("forward",)
  config.heads = 1
  config.width = 1
  config.value_width = 1
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0
  return config
