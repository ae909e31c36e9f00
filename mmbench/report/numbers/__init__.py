"""Tables, leaderboard, claims, ranks and comparisons, computed from the files of runs."""
