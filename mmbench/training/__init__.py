"""The trainer: steps, recorded ones on a GPU, checkpoints, weights that are kept, TensorBoard."""
