"""``python -m hnscore`` is the command ``hnscore``."""

from hnscore.cli import main

raise SystemExit(main())
