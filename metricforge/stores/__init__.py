"""Embeddings as other programs read them: files of one table, and folders that are searched."""
