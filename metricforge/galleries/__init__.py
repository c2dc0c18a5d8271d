"""Galleries: classes that are enrolled by their images, and who an image is of, or nobody."""
