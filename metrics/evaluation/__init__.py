"""One pass over a trained model. A metric is one file: a decorated function, see `metrics.catalogue`.

The function takes the pass (`one_pass.Pass`) and yields the name of each number with its value, or with why
there is none. Its mathematics, from tensors to numbers, stands in the same file or in the one of that name in
`metrics/`.
"""
