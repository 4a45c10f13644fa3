"""The longest context of every mechanism on six machines.

Nothing is run: a search compiles 3 to 10 programs, in 5 to 200 seconds.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.target = (
      "h100",
      "h100x8",
      "tpu-v5e-2x2",
      "tpu-v5e-16x16",
      "tpu-v5p-2x2x1",
      "tpu-v6e-2x2",
  )
  config.mechanisms = ("all",)
  config.forms = ()  # the featured ones of each
  config.lengths = 32768
  config.passes = ("forward", "forward_backward")

  config.batch = 1
  config.heads = 8
  config.width = 64
  config.value_width = 64
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 1
  config.point_budget = 2.0  # seconds; not used: nothing is timed
  config.budget = 10800.0  # seconds
  config.allowance = 600.0  # seconds

  config.corpus = ""  # not used: shapes are enough
  config.seed = 0
  return config
