"""Models of other libraries behind our contract: a package per library, whose import registers its models."""
