"""Results of several people: an archive of finished runs, and many of them in one leaderboard."""
