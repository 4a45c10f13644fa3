"""Values and gradients of every form, beside definitions in float64."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("all",)
  config.forms = ()  # all of them
  config.lengths = (500,)  # no multiple of any chunk
  config.passes = ("forward", "forward_backward")

  config.batch = 2
  config.heads = 2
  config.width = 64
  config.value_width = 64
  config.dtype = ("float32", "bfloat16")
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 1  # another is of other rows and directions
  config.point_budget = 0.01  # seconds; nothing is timed
  config.budget = 1800.0  # seconds
  config.allowance = 300.0  # seconds

  config.corpus = ""  # the sources of Python's standard library
  config.seed = 0
  return config
