"""Multimodal generative models behind one contract.

`base` is the contract, `registry` knows the models by name, and every model has a file of its own.
"""
