"""Memory of a GPU: arrays, the libraries that own them, bad values found late, copies from the host."""
