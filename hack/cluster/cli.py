"""The command line: up, down, status, logs, build, base-image, addon."""

import argparse
from collections.abc import Sequence

from cluster import build
from cluster.console import ClusterError, say


def main(arguments: Sequence[str]) -> int:
    """Run one verb; the exit code. An error that a user can act on is one sentence, not a stack trace."""
    parser = argparse.ArgumentParser(prog="python3 hack/cluster", description="A real single-node Kubernetes.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    builder = verbs.add_parser("build", help="build programs into the cache and link them into hack/cluster/bin")
    builder.add_argument("names", nargs="+", metavar="NAME", help=f"{', '.join(build.SETS)} or a program's name")
    options = parser.parse_args(arguments)
    try:
        if options.verb == "build":
            build.ensure(options.names)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return 0
