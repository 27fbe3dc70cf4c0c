"""Images made on this machine: the Debian base, and one small image per Go program, in a registry."""

import os
import re
import shlex
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster import build, mounts, toolchain
from cluster.commands import run
from cluster.console import ClusterError, step
from cluster.locks import hold
from cluster.paths import BIN, BUILDAH, CACHE

NOBODY = "65532:65532"
BUILDAH_PROGRAM = Path("/usr/bin/buildah")
BUILDAH_RUN = Path("/run/keras-operator-buildah")
BUSYBOX = Path("/bin/busybox")
LOCK = CACHE / "images.lock"
# Raised when the same programs are to give different images.
FORM = 2


def reference(registry: str, program: str) -> str:
    """The image of `program`; its tag is the hash of what the program is built from, so an image never goes stale."""
    return f"{registry}/cluster/{program}:{build.folder(build.source_of(program)).name.rpartition('-')[2]}-{FORM}"


def buildah_command() -> Path:
    """hack/cluster/bin/buildah: buildah whose images and layers lie in the cache, for all clones."""
    toolchain.ensure_packages({"buildah": "buildah"})
    BUILDAH.mkdir(parents=True, exist_ok=True)
    configuration = BUILDAH / "containers.conf"
    # Steps of a build use the machine's network: no bridge and no firewall rules appear for them.
    configuration.write_text('[containers]\nnetns = "host"\n')
    BIN.mkdir(exist_ok=True)
    wrapper = BIN / "buildah"
    text = (
        "#!/bin/sh\n"
        "# buildah with its storage in the cache of keras-operator\n"
        f"export STORAGE_DRIVER=overlay BUILDAH_ISOLATION=chroot CONTAINERS_CONF={shlex.quote(str(configuration))}\n"
        f"exec {BUILDAH_PROGRAM} --root {shlex.quote(str(BUILDAH / 'storage'))} --runroot {BUILDAH_RUN} "
        '"$@"\n'
    )
    if not wrapper.exists() or wrapper.read_text() != text:
        fresh = BIN / f".buildah.{os.getpid()}"
        fresh.write_text(text)
        fresh.chmod(0o755)
        fresh.replace(wrapper)
    return wrapper


def push_programs(registry: str, programs: Sequence[str]) -> dict[str, str]:
    """Make sure that the images of `programs` are in `registry`; program -> reference."""
    paths = build.ensure(programs)
    references = {program: reference(registry, program) for program in programs}
    missing = [program for program in programs if not in_registry(references[program])]
    if missing:
        with hold(LOCK, "another build of images"), step(f"making images: {', '.join(missing)}"):
            for program in missing:
                _push_scratch(references[program], {f"/bin/{program}": paths[program]}, [f"/bin/{program}"], NOBODY)
    return references


def push_busybox(registry: str) -> str:
    """A small image with a shell, for the helper that makes folders of volumes; runs as root, as that must."""
    toolchain.ensure_packages({str(BUSYBOX): "busybox-static"})
    version = re.search(r"v(\d+\.\d+\.\d+)", run([BUSYBOX, "--help"]))
    name = f"{registry}/cluster/busybox:{version[1] if version else 'unknown'}"
    if not in_registry(name):
        with hold(LOCK, "another build of images"), step("making images: busybox"):
            _push_scratch(name, {"/bin/busybox": BUSYBOX, "/bin/sh": BUSYBOX}, ["/bin/sh"], "0:0")
    return name


def _push_scratch(name: str, files: Mapping[str, Path], entrypoint: Sequence[str], user: str) -> None:
    """An image that holds nothing but `files` (place in the image -> file here), pushed as `name`."""
    with tempfile.TemporaryDirectory(prefix="keras-operator-image-") as context:
        lines = ["FROM scratch"]
        for number, (place, file) in enumerate(files.items()):
            shutil.copyfile(file, f"{context}/{number}")
            lines.append(f"COPY --chmod=0755 {number} {place}")
        words = ", ".join(f'"{word}"' for word in entrypoint)
        lines += [f"USER {user}", f"ENTRYPOINT [{words}]"]
        Path(context, "Containerfile").write_text("\n".join(lines) + "\n")
        run(
            [_builder(name), "build", "--quiet", "--tag", name, "--file", f"{context}/Containerfile", context],
            timeout=300,
            env={"DOCKER_BUILDKIT": "1"},
        )
    push(name)


def clear_away() -> None:
    """Undo the mounts of image builds that were killed, unless one is under way."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "exe").readlink() == BUILDAH_PROGRAM:
                return
        except OSError:
            continue  # a kernel thread, or it ended meanwhile
    mounts.undo([BUILDAH, BUILDAH_RUN])


def push(name: str) -> None:
    """Push a local image to the registry that its name begins with; plain HTTP on loopback only."""
    builder = _builder(name)
    # docker knows by itself which registries speak plain HTTP.
    options = [f"--tls-verify={not _is_loopback(name)}".lower()] if builder.name == "buildah" else []
    run([builder, "push", "--quiet", *options, name], timeout=900)


def _builder(name: str) -> Path:
    """What builds and pushes the image `name`: where another cluster is served, docker is as good as buildah.

    As in hack/images.sh: buildah if it is there, else docker; and without either, buildah is installed.
    """
    docker = shutil.which("docker")
    has_buildah = (BIN / "buildah").exists() or BUILDAH_PROGRAM.exists()
    return Path(docker) if docker and not has_buildah and not _is_loopback(name) else buildah_command()


def in_registry(name: str) -> bool:
    """Whether the registry already has the image `name`; asked of the cluster's own registry only."""
    host, _, rest = name.partition("/")
    if not _is_loopback(name):
        return False
    repository, _, tag = rest.rpartition(":")
    request = urllib.request.Request(
        f"http://{host}/v2/{repository}/manifests/{tag}",
        method="HEAD",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5):
            return True
    except urllib.error.HTTPError:
        return False
    except OSError as error:
        raise ClusterError(f"the registry at {host} does not answer ({error}): is the cluster up?") from None


def _is_loopback(name: str) -> bool:
    return name.startswith(("127.", "localhost"))
