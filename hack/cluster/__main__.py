"""`python3 hack/cluster VERB`: adds the parent of the package to the path, so that the folder runs as a program."""

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - the machine's Python runs this, regardless of the project's requirement
    sys.exit("hack/cluster needs Python 3.11 or newer; this is " + sys.version.split()[0])

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from cluster.cli import main

sys.exit(main(sys.argv[1:]))
