"""What the options of a command are added to."""

import argparse
from typing import Any, TypeAlias

Group = argparse._ActionsContainer
Commands: TypeAlias = "argparse._SubParsersAction[Any]"
