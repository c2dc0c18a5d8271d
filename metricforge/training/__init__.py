"""The training loop and its checkpoints; it receives finished objects, never names."""
