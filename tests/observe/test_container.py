import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler

import pytest

from runbook.observe.container import detect_container

ID = "0123456789abcdef" * 4
DIGEST = "registry.example/train@sha256:" + "ab" * 32
DOCKER = {
    ".dockerenv": "",
    "proc/self/cgroup": "0::/\n",
    "proc/self/mountinfo": f"1 2 8:1 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw - ext4 /dev/x rw\n",
}


def tree(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "env", "runtime", "known"),
    [
        (DOCKER, {}, "docker", True),
        ({"proc/self/cgroup": f"5:memory:/docker/{ID}\n"}, {}, "docker", True),
        ({"proc/self/cgroup": f"0::/system.slice/docker-{ID}.scope\n"}, {}, "docker", True),
        ({"run/.containerenv": f'engine="podman-4.9"\nid="{ID}"\nimage="x"\n'}, {}, "podman", True),
        ({"proc/self/cgroup": f"0::/machine.slice/libpod-{ID}.scope/container\n"}, {}, "podman", True),
        ({"proc/self/cgroup": f"0::/kubepods.slice/cri-containerd-{ID}.scope\n"}, {}, "kubernetes", True),
        ({}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes", False),
        ({}, {"APPTAINER_CONTAINER": "/x.sif"}, "apptainer", False),
        ({"proc/1/environ": "A=1\0container=systemd-nspawn\0"}, {}, "systemd-nspawn", False),
    ],
)
def test_the_runtime_and_the_id_are_told_from_inside(tmp_path, files, env, runtime, known):
    found = detect_container(env, tree(tmp_path, files))
    assert found.runtime == runtime
    assert found.id.value == (ID if known else None)


def test_outside_of_a_container_there_is_none(tmp_path):
    assert detect_container({}, tree(tmp_path, {"proc/self/cgroup": "0::/user.slice/session-1.scope\n"})) is None


def test_a_machine_made_from_an_image_is_no_container(tmp_path):
    assert (
        detect_container(
            {}, tree(tmp_path, {".dockerenv": "", "proc/self/mountinfo": "1 2 8:1 / / rw - ext4 x rw\n"})
        )
        is None
    )


def test_a_declared_image_counts_only_with_its_digest(tmp_path):
    root = tree(tmp_path, DOCKER)
    stated = detect_container({"RUNBOOK_IMAGE": DIGEST}, root).image
    assert (stated.evidence, stated.value) == ("declared", DIGEST)
    assert (
        detect_container({"RUNBOOK_IMAGE": "train:latest"}, root).image.reason
        == "RUNBOOK_IMAGE has no digest: train:latest"
    )
    assert "RUNBOOK_IMAGE is not set" in detect_container({}, root).image.reason


class Engine(socketserver.ThreadingUnixStreamServer):
    """Answers two questions of the engine's API for one container."""

    daemon_threads = True
    digests = [DIGEST]


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        answers = {
            f"/containers/{ID}/json": {"Image": "sha256:x"},
            "/images/sha256:x/json": {"RepoDigests": self.server.digests},
        }
        answers["/version"] = {"ApiVersion": "1.41"}
        found = next((v for k, v in answers.items() if self.path.endswith(k)), None)
        body = json.dumps(found or {"message": "no such thing"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self):
        return "engine"

    def log_message(self, *_):
        pass


@pytest.fixture
def engine(tmp_path):
    (tmp_path / "run").mkdir()
    with Engine(str(tmp_path / "run/docker.sock"), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_engine_tells_the_images_digest_and_is_believed_before_a_declaration(tmp_path, engine):
    image = detect_container({"RUNBOOK_IMAGE": "x@sha256:" + "0" * 64}, tree(tmp_path, DOCKER)).image
    assert (image.evidence, image.value) == ("observed", DIGEST)


def test_an_image_that_was_never_in_a_registry_has_no_digest(tmp_path, engine):
    engine.digests = []
    assert (
        "does not know this container's image by a digest"
        in detect_container({}, tree(tmp_path, DOCKER)).image.reason
    )


def test_what_is_no_socket_is_not_asked(tmp_path):
    root = tree(tmp_path, {**DOCKER, "var/run/docker.sock": ""})
    assert detect_container({}, root).image.evidence == "missing"
