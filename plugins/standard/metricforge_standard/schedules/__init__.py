"""Learning-rate schedules: a factor on the rate for each fraction of the training."""
