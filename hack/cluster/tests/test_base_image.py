"""The source of the base image is that of the machine."""

import pytest
from cluster.base_image import codename, mirror
from cluster.console import ClusterError

TARGETS = """\
http://mirror.example/debian/ bookworm-updates main
http://mirror.example/debian/ bookworm contrib
http://mirror.example/debian/ bookworm main
"""


def test_the_mirror_is_the_one_that_apt_uses() -> None:
    assert mirror(TARGETS, "bookworm") == "http://mirror.example/debian/"


def test_a_release_without_a_source_is_an_error() -> None:
    with pytest.raises(ClusterError, match="apt has no source of Debian trixie main"):
        mirror(TARGETS, "trixie")


def test_the_release_is_read_from_os_release() -> None:
    assert codename('PRETTY_NAME="Debian"\nVERSION_CODENAME=bookworm\nID=debian\n') == "bookworm"


def test_another_distribution_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ClusterError, match="only on Debian; use another image with BASE="):
        codename("VERSION_CODENAME=noble\nID=ubuntu\nID_LIKE=debian\n")
