"""The options of a training, their defaults, and the components that they name."""
