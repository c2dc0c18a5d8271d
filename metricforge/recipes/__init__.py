"""What a user chose: the options of a training, their defaults, and the components they name."""
