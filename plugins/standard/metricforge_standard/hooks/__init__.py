"""Who else is told of a training."""
