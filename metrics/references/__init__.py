"""What metrics are measured against: judges, feature spaces, statistics of real items, made once."""
