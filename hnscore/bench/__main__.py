"""``python -m hnscore.bench``"""

from hnscore.bench import main

raise SystemExit(main())
