"""``python -m hnscore`` is the command ``hnscore``."""

from hnscore.command.cli import main

raise SystemExit(main())
