"""`select`, `core_set` and `allocate`: which rows to take next."""
