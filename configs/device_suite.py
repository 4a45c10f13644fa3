"""The stages of the device suite, in the order of their worth."""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
  """Devices it is meant for, and stages: experiment, config, processes."""
  config = config_dict.ConfigDict()
  config.devices = ("gpu", "tpu")
  config.stages = (
      ("correctness", "configs/correctness.py", 8),
      ("attention_scaling", "configs/device_scaling.py", 1),
      ("decode_latency", "configs/device_decoding.py", 1),
      ("peer_comparison", "configs/device_peers.py", 1),
      ("attention_scaling", "configs/device_mechanisms.py", 1),
  )
  return config
