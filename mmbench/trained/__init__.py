"""Trained models in use: loaded from a folder, asked for samples, translations and embeddings, exported."""
