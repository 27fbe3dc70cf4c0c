"""Puts the package's parent on the path, as `python3 hack/cluster` does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
