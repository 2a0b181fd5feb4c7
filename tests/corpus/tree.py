"""Folders that are no whole bundle: what was added, taken away, changed, linked, or named as nothing may be."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from runbook.bundle import layout
from tests.corpus.change import Change, append, in_manifest, sealed, tags, write


def fifo(bundle: Path) -> None:
    os.mkfifo(bundle / "data/code/pipe")


def unix_socket(bundle: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = Path.cwd()
        os.chdir(bundle / "data")
        try:
            one.bind("s")
        finally:
            os.chdir(here)


def hard_link(bundle: Path) -> None:
    (bundle.parent / "outside").write_bytes((bundle / "data/code/train.py").read_bytes())
    (bundle / "data/code/train.py").unlink()
    os.link(bundle.parent / "outside", bundle / "data/code/train.py")


def link_for_file(bundle: Path) -> None:
    (bundle / "data/code/train.py").rename(bundle.parent / "train.py")
    (bundle / "data/code/train.py").symlink_to("../../../train.py")


def link_for_folder(bundle: Path) -> None:
    (bundle / "data/code").rename(bundle.parent / "code")
    (bundle / "data/code").symlink_to("../../code")


def deep_folders(bundle: Path) -> None:
    (bundle / "data" / "/".join(["d"] * 80)).mkdir(parents=True)


def undecodable_name(bundle: Path) -> None:
    os.close(os.open(os.fsencode(bundle) + b"/data/code/\xff", os.O_CREAT | os.O_WRONLY))


TREE: dict[str, tuple[Change, str]] = {
    "a file changed": (write("data/code/train.py", b"print('accuracy: 0.9376')\n"), "digest-mismatch"),
    "a file longer": (append("data/code/train.py", b"\n"), "size-mismatch"),
    "a file emptied": (write("data/code/train.py", b""), "size-mismatch"),
    "a file added": (write("data/code/extra.py"), "unlisted-file"),
    "a file added beside data": (write("note.txt"), "unlisted-file"),
    "a hidden file added": (write("data/.hidden"), "unlisted-file"),
    "an attestation of another name": (write("attestations/a.txt"), "unlisted-file"),
    "an attestation in a folder": (write("attestations/a/b.dsse.json"), "unlisted-file"),
    "a file removed": (lambda b: (b / "data/code/train.py").unlink(), "missing-file"),
    "a file renamed": (
        lambda b: (b / "data/code/train.py").rename(b / "data/code/test.py"),
        "missing-file",
    ),
    "an empty folder added": (lambda b: (b / "data/code/empty").mkdir(), "empty-folder"),
    "folders without end": (deep_folders, "too-deep"),
    "a link for a file": (link_for_file, "symlink"),
    "a link for a folder": (link_for_folder, "symlink"),
    "a link to nothing": (lambda b: (b / "data/x").symlink_to("nowhere"), "symlink"),
    "a link to an absolute path": (lambda b: (b / "data/x").symlink_to("/etc/passwd"), "symlink"),
    "a hard link": (hard_link, "hardlink"),
    "a pipe": (fifo, "special-file"),
    "a socket": (unix_socket, "special-file"),
    "a name with a control character": (sealed(write("data/code/a\x1b[2Jb")), "bad-name"),
    "a name with a line break": (write("data/code/a\nb"), "bad-name"),
    "a name with a backslash": (write("data/code/..\\..\\evil"), "bad-name"),
    "a name that turns the text": (write("data/code/\u202egnp.exe"), "bad-name"),
    "a name with a percent sign": (write("data/code/a%2fb"), "bad-name"),
    "a name that is not UTF-8": (undecodable_name, "bad-name"),
    "a name too long": (write("data/code/" + "/".join(["long" * 20] * 4)), "name-too-long"),
    "a name too deep": (write("data/code/" + "/".join("abcdefghijklmnopqrstuvwxyzabcdefghij")), "too-deep"),
    "names that differ in case": (sealed(write("data/code/TRAIN.py")), "name-collision"),
    "folders that differ in case": (sealed(write("data/Code/other.py")), "name-collision"),
    "names that differ in Unicode form": (
        sealed(lambda b: (write("data/code/\u00e9")(b), write("data/code/e\u0301")(b))),
        "name-collision",
    ),
    "fetch.txt": (write("fetch.txt", b"http://host.example/x 1 data/x\n"), "fetch-txt"),
    "no bagit.txt": (lambda b: (b / "bagit.txt").unlink(), "not-a-bundle"),
    "no manifest": (lambda b: (b / "manifest-sha256.txt").unlink(), "not-a-bundle"),
    "no tag manifest": (lambda b: (b / "tagmanifest-sha256.txt").unlink(), "not-a-bundle"),
    "another BagIt version": (
        sealed(write("bagit.txt", layout.BAGIT_TEXT.replace(b"1.0", b"0.97"))),
        "not-a-bundle",
    ),
    "the manifest changed": (append("manifest-sha256.txt", b"\n"), "digest-mismatch"),
    "bag-info changed": (append("bag-info.txt", b"Contact-Name: Eve\n"), "digest-mismatch"),
    "a manifest with a climbing path": (
        in_manifest(b"data/code/train.py", b"data/../../../etc/passwd"),
        "path-escape",
    ),
    "a manifest with an absolute path": (in_manifest(b"  data/record.json", b"  /etc/passwd"), "path-escape"),
    "a manifest with a path outside data": (in_manifest(b"  data/Dockerfile", b"  bagit.txt"), "path-escape"),
    "a manifest with a short digest": (in_manifest(b"  data/Dockerfile", b" data/Dockerfile"), "bad-manifest"),
    "a manifest with upper-case digests": (
        lambda b: in_manifest(t := (b / layout.MANIFEST).read_bytes()[:64], t.upper())(b),
        "bad-manifest",
    ),
    "a manifest with a file twice": (
        lambda b: in_manifest(t := (b / layout.MANIFEST).read_bytes().split(b"\n")[0] + b"\n", t + t)(b),
        "bad-manifest",
    ),
    "a name of a stream": (sealed(write("data/code/a\u2028b")), "bad-name"),
    "a name that ends with a space": (sealed(write("data/code/a ")), "bad-name"),
    "a name with an isolate": (sealed(write("data/code/\u2066x")), "bad-name"),
    "a thousand folders in a folder": (
        lambda b: [(b / f"data/code/{n}").mkdir() for n in range(1000)],
        "empty-folder",
    ),
    "a manifest of another algorithm": (write("manifest-md5.txt", b""), "unlisted-file"),
    "a manifest with a byte-order mark": (
        lambda b: in_manifest(
            (b / layout.MANIFEST).read_bytes()[:8], b"\xef\xbb\xbf" + (b / layout.MANIFEST).read_bytes()[:8]
        )(b),
        "bad-manifest",
    ),
    "a manifest with line ends of another system": (in_manifest(b"\n", b"\r\n"), "bad-manifest"),
    "a manifest with a path that is a folder": (in_manifest(b"data/code/train.py", b"data/code/"), "bad-name"),
    "a manifest with a name that turns the text": (
        in_manifest(b"data/code/train.py", "data/code/\u202etrain.py".encode()),
        "bad-name",
    ),
    "a payload that is said to be larger": (
        lambda b: (write("bag-info.txt", b"Payload-Oxum: 9999999.1\n")(b), tags(b)),
        "size-mismatch",
    ),
    "a payload of two sizes": (
        lambda b: (append("bag-info.txt", b"Payload-Oxum: 1.1\n")(b), tags(b)),
        "bad-manifest",
    ),
}
