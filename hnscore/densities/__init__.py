"""`density` and `knn_graph`: where points lie among points."""
