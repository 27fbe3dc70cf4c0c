"""Writes requirements/*.txt, the locked dependencies, from pyproject.toml; `--check` says whether they are fresh.

`requirements/dev.txt` holds everything; each image's file is its part of it, so all images and the tests use the same
versions. The files name no registry, so they work behind any mirror. Freshness is judged without a network: each file
records a hash of what it was resolved from.
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

# What each file is resolved from: arguments of `uv pip compile`. The images' extras stand in images/*/Containerfile.
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
    stamp = inputs_stamp()
    if options.check:
        stale = [name for name in ("dev", *IMAGES) if not is_fresh(lock_file(name), stamp)]
        if stale:
            print(f"requirements/ is older than pyproject.toml ({', '.join(stale)}); run: make lock")
        return 1 if stale else 0
    compile_lock("dev", EVERYTHING + (["--upgrade"] if options.upgrade else []), stamp)
    for name, extras in IMAGES.items():
        # Nothing of its own to choose: every version is the common one.
        lock_file(name).unlink(missing_ok=True)
        compile_lock(name, [*extras, "--constraint", str(lock_file("dev"))], stamp)
    return 0


def lock_file(name: str) -> Path:
    return LOCKS / f"{name}.txt"


def inputs_stamp() -> str:
    """The header line that identifies what the locks were resolved from."""
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


def is_fresh(file: Path, stamp: str) -> bool:
    return file.exists() and file.read_text().startswith(stamp)


def compile_lock(name: str, arguments: list[str], stamp: str) -> None:
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
    file.write_text(f"{stamp}# written by `make lock`: do not edit\n{file.read_text()}")


if __name__ == "__main__":
    sys.exit(main())
