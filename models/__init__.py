"""Multimodal generative models behind one contract: `base` is the contract, `registry` the names, one file per model."""
