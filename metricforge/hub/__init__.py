"""Models on a hub: their addresses, and how they get there and back, by huggingface_hub."""
