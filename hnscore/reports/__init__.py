"""One HTML file about a pool, its texts and what to annotate next."""
