"""Exports: a model in one file for other programs, refused unless it ranks as the model does."""
