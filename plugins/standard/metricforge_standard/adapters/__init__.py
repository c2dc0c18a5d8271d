"""Adapters: which weights of a backbone learn, and small ones that are added."""
