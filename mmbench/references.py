"""What all runs on one data set share: judges, statistics of the real images, floors. Made once and cached by content."""
