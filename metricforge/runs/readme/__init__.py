"""README.md of a run's model: what it is, how to use it, how good it is, and where that ends."""
