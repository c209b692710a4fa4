"""hnscore inside other active-learning libraries: one module for each, imported only by those who use it."""
