"""The exam room over HTTP: the leaderboard, what a model is suitable for, time with and without the assistant."""
