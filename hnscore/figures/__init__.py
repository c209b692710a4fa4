"""The numbers behind pictures of a pool and its texts: `hnscore.plot` draws them, `hnscore.report` writes them down."""
