"""Metrics: pure functions from tensors to numbers, and one pass over a trained model (`evaluation`)."""
