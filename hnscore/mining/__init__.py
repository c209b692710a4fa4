"""`pairs`, `mine`, `duplicates` and `range_graph`: the pairs themselves, and a `Pool` that is packed once for them."""
