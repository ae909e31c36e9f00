"""The search for settings on validation images, the same for every model."""
