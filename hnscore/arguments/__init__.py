"""Arguments in, results out: what every function asks of what it is given, and every error for it."""
