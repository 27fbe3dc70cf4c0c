"""Images that are built on this machine: one small image per Go program, in a registry."""

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
# Increase this when the images of the same programs change.
FORM = 2


def reference(registry: str, program: str) -> str:
    """The image of `program`. Its tag is the hash of the program's inputs, so an image is never stale."""
    return f"{registry}/cluster/{program}:{build.folder(build.source_of(program)).name.rpartition('-')[2]}-{FORM}"


def buildah_command() -> Path:
    """hack/cluster/bin/buildah: buildah with its images and layers in the cache of all clones."""
    toolchain.ensure_packages({"buildah": "buildah"})
    BUILDAH.mkdir(parents=True, exist_ok=True)
    configuration = BUILDAH / "containers.conf"
    # Build steps use the network of the machine, without a bridge and firewall rules.
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
    """Build and push the images of `programs` that `registry` does not have; returns program -> reference."""
    paths = build.ensure(programs)
    references = {program: reference(registry, program) for program in programs}
    missing = [program for program in programs if not in_registry(references[program])]
    if missing:
        with hold(LOCK, "another build of images"), step(f"building images: {', '.join(missing)}"):
            for program in missing:
                _push_scratch(references[program], {f"/bin/{program}": paths[program]}, [f"/bin/{program}"], NOBODY)
    return references


def push_busybox(registry: str) -> str:
    """A small image with a shell for the helper that creates the folders of volumes. It must run as root."""
    toolchain.ensure_packages({str(BUSYBOX): "busybox-static"})
    version = re.search(r"v(\d+\.\d+\.\d+)", run([BUSYBOX, "--help"]))
    name = f"{registry}/cluster/busybox:{version[1] if version else 'unknown'}"
    if not in_registry(name):
        with hold(LOCK, "another build of images"), step("building images: busybox"):
            _push_scratch(name, {"/bin/busybox": BUSYBOX, "/bin/sh": BUSYBOX}, ["/bin/sh"], "0:0")
    return name


def _push_scratch(name: str, files: Mapping[str, Path], entrypoint: Sequence[str], user: str) -> None:
    """Build and push an image `name` that contains only `files` (path in the image -> file on this machine)."""
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
    """Unmount the mounts of killed image builds, unless a build is running."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "exe").readlink() == BUILDAH_PROGRAM:
                return
        except OSError:
            continue  # a kernel thread, or a process that has ended
    mounts.undo([BUILDAH, BUILDAH_RUN])


def push(name: str) -> None:
    """Push a local image to the registry in its name, with plain HTTP only on loopback."""
    builder = _builder(name)
    # docker detects by itself which registries use plain HTTP.
    options = [f"--tls-verify={not _is_loopback(name)}".lower()] if builder.name == "buildah" else []
    run([builder, "push", "--quiet", *options, name], timeout=900)


def _builder(name: str) -> Path:
    """The program that builds and pushes the image `name`: docker is used only for another cluster's registry.

    As in hack/images.sh: buildah if it is installed, otherwise docker. If neither is installed, install buildah.
    """
    docker = shutil.which("docker")
    has_buildah = (BIN / "buildah").exists() or BUILDAH_PROGRAM.exists()
    return Path(docker) if docker and not has_buildah and not _is_loopback(name) else buildah_command()


def in_registry(name: str) -> bool:
    """Whether the registry of this cluster has the image `name`. Other registries are not asked."""
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
        raise ClusterError(f"the registry at {host} does not answer ({error}): start the cluster") from None


def _is_loopback(name: str) -> bool:
    return name.startswith(("127.", "localhost"))
