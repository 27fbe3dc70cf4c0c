"""Writes requirements/*.txt, the locked dependencies, from pyproject.toml; `--check` says whether they are fresh.

`requirements/dev.txt` holds everything; each image's file is its part of it, so all images and the tests use the same
versions. The files name no registry, so they work behind any mirror. Freshness is judged without a network: dev.txt
records a hash of what it was resolved from; the images' files do not, so a new development tool rebuilds no image.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "requirements"
PYTHON = "3.11"  # the oldest supported: the files hold for it and all later ones

# What each file is resolved from: arguments of `uv pip compile`. The images' files are named after them.
EVERYTHING = ["--all-extras", "--group", "dev"]
IMAGES = {
    "operator": ["--extra", "operator", "--extra", "store"],
    "server": ["--extra", "server"],
    "pipeline": ["--extra", "pipeline", "--extra", "server"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions instead of the locked ones")
    options = parser.parse_args()
    if options.check:
        stale = stale_locks()
        if stale:
            print(f"not resolved from this pyproject.toml: requirements/{', '.join(stale)}; run: make lock")
        return 1 if stale else 0
    compile_lock("dev", EVERYTHING + (["--upgrade"] if options.upgrade else []), header=inputs_stamp())
    for name, extras in IMAGES.items():
        # Nothing of its own to choose: every version is the common one.
        lock_file(name).unlink(missing_ok=True)
        compile_lock(name, [*extras, "--constraint", str(lock_file("dev"))])
    return 0


def stale_locks() -> list[str]:
    """Names of the files that do not follow from pyproject.toml."""
    everything = lock_file("dev")
    if not everything.exists() or not everything.read_text().startswith(inputs_stamp()):
        return ["dev.txt", *(f"{name}.txt" for name in IMAGES)]
    common = pins("dev")
    return [f"{name}.txt" for name in IMAGES if not lock_file(name).exists() or not pins(name) <= common]


def pins(name: str) -> set[str]:
    """What a file pins, as name==version; for which Python or system may differ from file to file."""
    return {line.split()[0] for line in lock_file(name).read_text().splitlines() if "==" in line and line[0] != "#"}


def lock_file(name: str) -> Path:
    return LOCKS / f"{name}.txt"


def inputs_stamp() -> str:
    """The first line of dev.txt, which identifies what the files were resolved from."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = pyproject["project"]
    inputs = [
        project["requires-python"],
        project["dependencies"],
        project["optional-dependencies"],
        pyproject["dependency-groups"],
        IMAGES,
    ]
    return f"# dependencies of pyproject.toml: sha256:{hashlib.sha256(json.dumps(inputs).encode()).hexdigest()}\n"


def compile_lock(name: str, arguments: list[str], header: str = "") -> None:
    file = lock_file(name)
    print(f"resolving {file.relative_to(ROOT)}", flush=True)
    command = ["uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", PYTHON, "--generate-hashes"]
    command += ["--no-header", "--no-annotate", "--quiet", *arguments, "--output-file", str(file)]
    try:
        subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    except FileNotFoundError:
        sys.exit("uv is not on the PATH; install it, for example with: python3 -m pip install uv")
    except subprocess.CalledProcessError:
        sys.exit(f"{file.relative_to(ROOT)} cannot be resolved; uv says why above")
    except subprocess.TimeoutExpired:
        sys.exit("the package index did not answer within 5 minutes; try again")
    file.write_text(f"{header}# written by `make lock`: do not edit\n{file.read_text()}")


if __name__ == "__main__":
    sys.exit(main())
