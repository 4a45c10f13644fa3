"""The copy task as in the paper: 4 layers, d = 256, batch 64.

Katharopoulos et al. 2020 (arXiv 2006.16236), section 4.1; the number of steps
is that of the authors' code, 100 epochs of 100 batches. It differs in that
norms come before what they are of, places are added, and nothing is dropped
out. A step takes seconds on two cores: it is for an accelerator.
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """The fields of a sweep; `--help` of the experiment explains each."""
  config = config_dict.ConfigDict()
  config.mechanisms = ("softmax", "linear", "lsh")
  config.forms = ()  # training alone
  config.lengths = (128,)
  config.passes = ("forward_backward",)
  config.layers = 4
  config.steps = 10000
  config.rounds = 50
  config.rate = (1e-3,)
  config.drop = 3000

  config.batch = 64
  config.heads = 8
  config.width = 32  # D = 256
  config.value_width = 32
  config.dtype = "float32"
  config.causal = True
  config.chunk = 0  # the form's own

  config.replicates = 3  # seeds
  config.point_budget = 2.0  # seconds; not used: a run takes what it takes
  config.budget = 864000.0  # seconds; what is stopped goes on
  config.allowance = 3600.0  # seconds

  config.corpus = ""  # not used: words are drawn
  config.seed = 0
  return config
