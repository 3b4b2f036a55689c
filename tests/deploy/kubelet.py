"""Runs a rendered pod as a kubelet would: environment, files, command, probes and signals from its manifests.

What a container adds (its own root, network and user) is what the image test is for: here the process runs on this
machine, paths of mounts are those of a temporary directory, and a pod has an address of the loopback range.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.servers import wait_until
from tests.support.worker import ROOT

Manifests = list[dict[str, Any]]
Secrets = Mapping[str, Mapping[str, str]]


def entrypoint() -> list[str]:
    """Return the program of the image's ENTRYPOINT as it stands in this environment, with its arguments."""
    (line,) = [each for each in (ROOT / "Dockerfile").read_text().splitlines() if each.startswith("ENTRYPOINT ")]
    program, *arguments = json.loads(line.removeprefix("ENTRYPOINT "))
    return [str(Path(sys.executable).with_name(program)), *arguments]


class Missing(Exception):
    """A pod names an object or a key that is not there: Kubernetes would not start the container."""


class Pod:
    """One pod of the one Deployment or Job among `manifests`, at `address`. A context manager.

    `secrets` are those that exist in the cluster, by name, beside those of the manifests.
    """

    def __init__(self, manifests: Manifests, *, address: str = "127.0.0.1", secrets: Secrets | None = None) -> None:
        (self.workload,) = [each for each in manifests if each["kind"] in ("Deployment", "Job")]
        self.spec: dict[str, Any] = self.workload["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self.address = address
        self.ready = False
        self.started = False
        self.killed_by_probe = ""
        self.process: subprocess.Popen[str] | None = None
        self._secrets = {name: dict(data) for name, data in (secrets or {}).items()}
        self._config_maps: dict[str, dict[str, str]] = {}
        for each in manifests:
            if each["kind"] == "Secret":
                plain = {key: base64.b64decode(value).decode() for key, value in each.get("data", {}).items()}
                self._secrets[each["metadata"]["name"]] = plain | each.get("stringData", {})
            elif each["kind"] == "ConfigMap":
                self._config_maps[each["metadata"]["name"]] = each["data"]
        self._room = tempfile.TemporaryDirectory(prefix="shaker-pod-")
        self._log = Path(self._room.name) / "log"
        self._mounts = self._mount()
        self._probes: list[threading.Thread] = []
        self._ended = threading.Event()

    def _mount(self) -> dict[str, str]:
        directories = {}
        for volume in self.spec["volumes"]:
            directory = Path(self._room.name) / "volumes" / volume["name"]
            directory.mkdir(parents=True)
            directories[volume["name"]] = str(directory)
            for name, text in self._files(volume).items():
                path = directory / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return {each["mountPath"]: directories[each["name"]] for each in self.container["volumeMounts"]}

    def _files(self, volume: dict[str, Any]) -> dict[str, str]:
        if "configMap" in volume:
            given, data = volume["configMap"], self._config_maps.get(volume["configMap"]["name"])
        elif "secret" in volume:
            given, data = volume["secret"], self._secrets.get(volume["secret"]["secretName"])
        else:
            return {}
        if data is None:
            raise Missing(f"volume {volume['name']}")
        try:
            return {item["path"]: data[item["key"]] for item in given["items"]} if "items" in given else data
        except KeyError as key:
            raise Missing(f"volume {volume['name']}, key {key}") from None

    def _here(self, text: str) -> str:
        for path, directory in self._mounts.items():
            if text == path or text.startswith(f"{path}/"):
                return directory + text.removeprefix(path)
        return text

    def environment(self) -> dict[str, str]:
        """Return the environment of the container: its own, and what a kubelet adds."""
        out = {"PATH": os.environ["PATH"], "HOSTNAME": "pod", "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
        for each in self.container["env"]:
            if "value" in each:
                out[each["name"]] = self._here(each["value"])
                continue
            reference = each["valueFrom"]["secretKeyRef"]
            value = self._secrets.get(reference["name"], {}).get(reference["key"])
            if value is not None:
                out[each["name"]] = value
            elif not reference.get("optional"):
                raise Missing(f"secret {reference['name']}, key {reference['key']}")
        # In place of a network of its own.
        return out | {"SHAKER_HEALTH__HOST": self.address}

    def start(self) -> Self:
        """Start the container and its probes."""
        command = [*self.container.get("command", entrypoint()), *map(self._here, self.container["args"])]
        command = ["setpriv", "--pdeathsig", "KILL", *command]
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                command,
                env=self.environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                text=True,
            )
        for probing in (self._probe_start, self._probe_ready):
            thread = threading.Thread(target=probing, daemon=True)
            self._probes.append(thread)
            thread.start()
        return self

    def probe(self, kind: str) -> bool:
        """Send one probe, `startup`, `liveness` or `readiness`, as rendered; True when it succeeds."""
        rendered = self.container[f"{kind}Probe"]
        ports = {each["name"]: each["containerPort"] for each in self.container["ports"]}
        url = f"http://{self.address}:{ports[rendered['httpGet']['port']]}{rendered['httpGet']['path']}"
        try:
            with urllib.request.urlopen(url, timeout=rendered["timeoutSeconds"]) as answer:
                return bool(200 <= answer.status < 400)
        except OSError:
            return False

    def _kill(self, kind: str) -> None:
        self.killed_by_probe = kind
        assert self.process is not None
        self.process.kill()

    def _probe_start(self) -> None:
        """Probe the start, then the life: what is dead for too long is killed."""
        for kind in ("startup", "liveness"):
            rendered, failures = self.container[f"{kind}Probe"], 0
            while not self._ended.wait(rendered["periodSeconds"]):
                if self.probe(kind):
                    failures = 0
                    if kind == "startup":
                        self.started = True
                        break
                else:
                    failures += 1
                    if failures >= rendered["failureThreshold"]:
                        return self._kill(kind)
        return None

    def _probe_ready(self) -> None:
        rendered, failures = self.container["readinessProbe"], 0
        while not self._ended.wait(rendered["periodSeconds"]):
            if not self.started:
                continue
            if self.probe("readiness"):
                self.ready, failures = True, 0
            else:
                failures += 1
                self.ready = self.ready and failures < rendered["failureThreshold"]

    @property
    def alive(self) -> bool:
        """True while the container's process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def log(self) -> str:
        """What the container has written."""
        return self._log.read_text()

    def get(self, path: str) -> tuple[int, str]:
        """Return code and body of a GET at the pod's health port."""
        port = self.container["ports"][0]["containerPort"]
        try:
            with urllib.request.urlopen(f"http://{self.address}:{port}{path}", timeout=5) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def status(self) -> dict[str, Any]:
        """Return the document of `/status`."""
        found: dict[str, Any] = json.loads(self.get("/status")[1])
        return found

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Wait until the readiness probe has succeeded."""
        try:
            wait_until(lambda: self.ready or not self.alive, "the pod to be ready", seconds)
            assert self.alive, "the container ended"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log[-4000:]}") from None

    def terminate(self) -> tuple[int, float]:
        """Send SIGTERM, after the grace period SIGKILL; return (exit code, seconds that it took)."""
        assert self.process is not None
        begun = time.monotonic()
        self._ended.set()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(self.spec["terminationGracePeriodSeconds"])
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return code, time.monotonic() - begun

    def wait(self, seconds: float = 60.0) -> int:
        """Wait until the container ends by itself; return its exit code."""
        assert self.process is not None
        code = self.process.wait(seconds)
        self._ended.set()
        return code

    def close(self) -> None:
        """End the container and remove the pod's files."""
        self._ended.set()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for thread in self._probes:
            thread.join(5)
        self._room.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.close()


class JobEnd(NamedTuple):
    """How a Job ended: `Complete` or `Failed`, why, and what each of its pods ended with."""

    condition: str
    reason: str
    codes: list[int]
    log: str


def run_job(manifests: Manifests, *, secrets: Secrets | None = None) -> JobEnd:
    """Run the Job among `manifests` to its end, as the Job controller would (batch/v1, podFailurePolicy)."""
    codes: list[int] = []
    while True:
        with Pod(manifests, secrets=secrets) as pod:
            codes.append(pod.wait())
            log = pod.log
        spec = pod.workload["spec"]
        if codes[-1] == 0:
            return JobEnd("Complete", "", codes, log)
        for rule in spec["podFailurePolicy"]["rules"]:
            wanted = rule.get("onExitCodes")
            if wanted and wanted["operator"] == "In" and codes[-1] in wanted["values"]:
                assert rule["action"] == "FailJob"
                return JobEnd("Failed", "PodFailurePolicy", codes, log)
        if len(codes) > spec["backoffLimit"]:
            return JobEnd("Failed", "BackoffLimitExceeded", codes, log)
