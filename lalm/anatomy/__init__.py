"""A trained model opened up: its weights and activations in numbers."""
