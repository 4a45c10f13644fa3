"""Roles of a model's matrices, in the order that tables and figures have."""

OF_LAYERS = ("q", "k", "v", "o", "mlp_in", "mlp_gate", "mlp_out")
ALL = ("embedding", *OF_LAYERS, "other")
