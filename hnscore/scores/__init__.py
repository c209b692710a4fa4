"""`score` and `Scorer`: how hard a negative each image is."""
