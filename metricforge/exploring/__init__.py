"""One HTML file to look around in: a map of embeddings, each image with its neighbours."""
