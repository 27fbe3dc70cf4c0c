"""The command line: up, down, prune, status, logs, build, base-image, addon."""

import argparse
from collections.abc import Sequence

from cluster import base_image, build, lifecycle
from cluster.addons import ADDONS, remove
from cluster.console import ClusterError, say, step
from cluster.target import Target


def main(arguments: Sequence[str]) -> int:
    """Run one verb; returns the exit code. An error that a user can fix is printed without a stack trace."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except OSError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; `python3 hack/cluster up` continues, `... down` removes everything")
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    match options.verb:
        case "up":
            lifecycle.up(take_over=options.take_over)
        case "down":
            lifecycle.down(take_over=options.take_over)
        case "prune":
            lifecycle.prune()
        case "status":
            print(*lifecycle.status(), sep="\n")
        case "logs":
            print(lifecycle.tail(options.component))
        case "build":
            build.ensure(options.names)
        case "base-image":
            print(base_image.ensure())
        case "addon":
            target = Target.from_environment(pushes=not options.remove)
            for name in options.names:
                if options.remove:
                    remove(target, name)
                    continue
                with step(f"installing {name}"):
                    ADDONS[name](target)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 hack/cluster", description="A local single-node Kubernetes.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, text in {
        "up": "start or repair the cluster",
        "down": "stop it and remove everything except caches",
    }.items():
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("--take-over", action="store_true", help="even if the cluster belongs to another clone")
    verbs.add_parser("prune", help="remove all cached images and layers; the cluster must be stopped")
    verbs.add_parser("status", help="show the running components")
    logs = verbs.add_parser("logs", help="print the end of a component's log")
    logs.add_argument("component", help="etcd, kube-apiserver, kubelet, ...")
    builder = verbs.add_parser("build", help="build programs into the cache and link them into hack/cluster/bin")
    builder.add_argument("names", nargs="+", metavar="NAME", help=f"{', '.join(build.SETS)} or a program's name")
    verbs.add_parser("base-image", help="build the Debian base image; print its name")
    addon = verbs.add_parser(
        "addon", help="install add-ons into this clone's cluster, or with CLUSTER=current another one"
    )
    addon.add_argument("--remove", action="store_true", help="remove the add-ons")
    addon.add_argument("names", nargs="+", choices=sorted(ADDONS), metavar="NAME", help=", ".join(sorted(ADDONS)))
    return parser
