"""Training: loss, optimiser, step, loop and checkpoints."""
