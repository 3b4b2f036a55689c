"""Rendered pods do their work: as a Deployment, as a Job, and two of them in a rolling update."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from shaker.commands.sample import seed
from tests.deploy.kubelet import Manifests, Missing, Pod, entrypoint, run_job
from tests.deploy.tools import CHART, render, run, tool
from tests.support.compare import differences
from tests.support.servers import Server, free_port, wait_until
from tests.support.writes import Writes

Servers = Callable[..., Server]

# So that a probe does not wait for the probe before it: the values of the chart are those of a cluster.
FAST = ("--set", "probes.startup.periodSeconds=1,probes.liveness.periodSeconds=1,probes.readiness.periodSeconds=1")


def values(source: Server, target: Server, *more: str) -> Manifests:
    """Return the manifests for these two servers, with a free health port."""
    return render(
        *FAST,
        *("--set", f"config.health.port={free_port()}"),
        *("--set", f"source.url=redis://127.0.0.1:{source.port}"),
        *("--set", f"target.url=redis://127.0.0.1:{target.port}"),
        *more,
    )


def applied(pod: Pod, source: Server) -> None:
    """Wait until the pod's worker has applied all that the source has now."""
    offset = source.offset()
    wait_until(lambda: pod.status()["stream"]["applied_offset"] >= offset, f"offset {offset} to be applied")


def test_a_deployment_gets_ready_and_drains_within_its_grace_period(source: Server, target: Server) -> None:
    """Startup, liveness and readiness by the rendered probes; SIGTERM ends with 0."""
    seed(source.client(), 500)
    manifests = values(source, target, "--set", "config.log.level=debug,name=orders")
    with Pod(manifests) as pod:
        pod.wait_ready()
        source.client().set("key", "value")
        applied(pod, source)
        assert pod.probe("startup")
        assert pod.probe("liveness")
        code, seconds = pod.terminate()

    assert (code, pod.killed_by_probe) == (0, "")
    assert seconds < pod.spec["terminationGracePeriodSeconds"]
    assert differences(source, target) == []
    assert target.client().exists("shaker:checkpoint:orders") == 1


def test_a_pod_without_its_servers_is_alive_and_not_ready(source: Server, target: Server) -> None:
    """A Redis that is away is no reason to restart the container."""
    manifests = values(source, target)
    source.stop()
    with Pod(manifests) as pod:
        wait_until(lambda: pod.started, "the startup probe")
        assert pod.probe("liveness")
        assert not pod.probe("readiness")
        source.start()
        pod.wait_ready()


def test_credentials_come_from_secrets(server: Servers) -> None:
    """The whole URL from an existing Secret, user and password from one that the chart made."""
    source, target = server(requirepass="sourceword"), server()
    awkward = 'a "quoted" pass$(word): #1'
    target.client().execute_command("ACL", "SETUSER", "writer", "on", f">{awkward}", "~*", "&*", "+@all")
    manifests = render(
        *FAST,
        *("--set", f"config.health.port={free_port()},source.existingSecret=source"),
        *("--set", f"target.url=redis://127.0.0.1:{target.port},target.username=writer"),
        *("--set-string", f"target.password={awkward}"),
    )
    with Pod(manifests, secrets={"source": {"url": f"redis://:sourceword@127.0.0.1:{source.port}"}}) as pod:
        pod.wait_ready()
        source.client().set("key", "value")
        applied(pod, source)
        assert pod.terminate()[0] == 0

    assert target.client().get("key") == b"value"
    assert "sourceword" not in pod_text(manifests)
    with pytest.raises(Missing, match="secret source, key url"), Pod(manifests):
        pass


def pod_text(manifests: Manifests) -> str:
    """Return the whole workload as text."""
    return str([each for each in manifests if each["kind"] in ("Deployment", "ConfigMap")])


def test_a_password_file_is_read_again_at_each_connect(server: Servers) -> None:
    """A rotated password needs no restart."""
    source, target = server(requirepass="first"), server()
    manifests = values(
        source,
        target,
        "--set",
        "source.existingSecret=source,source.passwordAsFile=true,config.retry.access_seconds=1",
    )
    with Pod(manifests, secrets={"source": {"password": "first"}}) as pod:
        pod.wait_ready()
        file = Path(pod.environment()["SHAKER_SOURCE__PASSWORD_FILE"])
        source.client().config_set("requirepass", "second")
        file.write_text("second")
        admin = source.client(password="second")
        admin.client_kill_filter(_type="replica")
        admin.set("key", "value")
        wait_until(lambda: target.client().get("key") == b"value", "the key")
        wait_until(lambda: pod.get("/readyz")[0] == 200, "/readyz")


def test_tls_material_comes_from_secrets(server: Servers, tmp_path: Path) -> None:
    """The authority of the source, and a client certificate for the target."""
    authority = trustme.CA()
    pem = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(pem))
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    own, key = tmp_path / "server.pem", tmp_path / "server.key"
    certificate.cert_chain_pems[0].write_to_path(str(own))
    certificate.private_key_pem.write_to_path(str(key))
    client = authority.issue_cert("shaker@example.com")
    tls = {"tls-cert-file": str(own), "tls-key-file": str(key), "tls-ca-cert-file": str(pem)}
    ports = free_port(), free_port()
    source = server(config=tls | {"tls-port": ports[0], "tls-auth-clients": "no"})
    target = server(config=tls | {"tls-port": ports[1], "tls-auth-clients": "yes"})
    manifests = render(
        *FAST,
        *("--set", f"config.health.port={free_port()}"),
        *("--set", f"source.url=rediss://127.0.0.1:{ports[0]},source.tls.existingSecret=authority"),
        *("--set", f"target.url=rediss://127.0.0.1:{ports[1]},target.tls.existingSecret=client"),
        *("--set", "target.tls.certKey=tls.crt,target.tls.privateKey=tls.key"),
    )
    text = pem.read_text()
    secrets = {
        "authority": {"ca.crt": text},
        "client": {
            "ca.crt": text,
            "tls.crt": client.cert_chain_pems[0].bytes().decode(),
            "tls.key": client.private_key_pem.bytes().decode(),
        },
    }
    with Pod(manifests, secrets=secrets) as pod:
        pod.wait_ready()
        source.client().set("key", "value")
        applied(pod, source)

    assert target.client().get("key") == b"value"


def test_a_rolling_update_keeps_the_history_exact_and_the_old_pod_alive(source: Server, target: Server) -> None:
    """Both pods are alive: the new one takes over, the old one is fenced, not ready, and ends at SIGTERM only."""
    port = f"config.health.port={free_port()}"
    manifests = values(source, target, "--set", port, "--set", "strategy.type=RollingUpdate")
    upgraded = values(source, target, "--set", port, "--set", "strategy.type=RollingUpdate,podAnnotations.a=b")
    assert manifests != upgraded
    with Writes(source) as writes, Pod(manifests) as old:
        old.wait_ready()
        with Pod(upgraded, address="127.0.0.2") as new:
            new.wait_ready()
            wait_until(lambda: not old.ready, "the old pod to be not ready")
            at = writes.rounds
            wait_until(lambda: writes.rounds > at + 100, "more writes")
            assert old.alive
            assert old.probe("liveness")
            assert old.status()["state"] == "fenced"
            code, seconds = old.terminate()
            assert (code, old.killed_by_probe) == (6, "")
            assert seconds < old.spec["terminationGracePeriodSeconds"]
            writes.stop()
            applied(new, source)
            status = new.status()
            assert (status["full_syncs"], status["rejected_commands"]) == (0, 0)
            assert new.ready
            assert new.terminate()[0] == 0
    assert differences(source, target) == []


def test_two_replicas_by_force_do_not_take_over_from_each_other(source: Server, target: Server) -> None:
    """As after `kubectl scale --replicas 2`: the newer one works, the other one waits."""
    manifests = values(source, target)
    with Writes(source) as writes, Pod(manifests) as one:
        one.wait_ready()
        with Pod(manifests, address="127.0.0.2") as two:
            two.wait_ready()
            at = writes.rounds
            wait_until(lambda: writes.rounds > at + 300, "more writes")
            writes.stop()
            applied(two, source)
            assert (one.status()["state"], two.status()["state"]) == ("fenced", "streaming")
            assert int(target.client().hget("shaker:fence:default", "epoch")) == 2
    assert differences(source, target) == []


def test_a_job_migrates_and_completes(source: Server, target: Server) -> None:
    """Exit code 0 after the snapshot and what was written meanwhile."""
    seed(source.client(), 2_000)

    end = run_job(values(source, target, "--set", "mode=job"))

    assert (end.condition, end.codes) == ("Complete", [0]), end.log
    assert differences(source, target) == []


def test_a_job_that_is_refused_fails_at_once(source: Server, target: Server) -> None:
    """Code 3, a target with foreign keys: no retry helps, and nothing was written."""
    source.client().set("key", "value")
    target.client().set("foreign", "value")

    end = run_job(values(source, target, "--set", "mode=job"))

    assert (end.condition, end.reason, end.codes) == ("Failed", "PodFailurePolicy", [3]), end.log
    assert target.client().keys() == [b"foreign"]


@pytest.mark.needs_servers("redis-8.0")
def test_a_job_with_data_that_cannot_be_replicated_fails_at_once(server: Servers) -> None:
    """Code 3: the target is too old for an encoding of the source, which the checks find before the snapshot."""
    source, target = server("redis-8.0"), server("redis-6.2")
    source.client().execute_command("HSET", "key", "field", "value")
    source.client().execute_command("HEXPIRE", "key", 1000, "FIELDS", 1, "field")

    end = run_job(values(source, target, "--set", "mode=job,job.mode=snapshot"))

    assert (end.condition, end.reason, end.codes) == ("Failed", "PodFailurePolicy", [3]), end.log
    assert source.info("stats")["sync_full"] == 0


def test_a_job_with_faulty_settings_fails_at_once(source: Server, target: Server) -> None:
    """Code 2: what the schema cannot see, the worker does, by name."""
    more = ("--set", "mode=job", "--set", "config.retry.max_seconds=0.1,config.retry.initial_seconds=9")

    end = run_job(values(source, target, *more))

    assert (end.condition, end.reason, end.codes) == ("Failed", "PodFailurePolicy", [2]), end.log
    assert "retry.max_seconds" in end.log


def test_a_job_that_is_stopped_goes_on_in_its_next_pod(source: Server, target: Server) -> None:
    """Code 75 is no end of the Job: it counts to the backoff limit only."""
    manifests = values(source, target, "--set", "mode=job,job.backoffLimit=1")
    source.stop()
    with Pod(manifests) as pod:
        wait_until(lambda: pod.started, "the start")
        code, _ = pod.terminate()
    assert code == 75
    source.start()

    end = run_job(manifests)

    assert (end.condition, end.codes) == ("Complete", [0]), end.log


def test_the_test_pod_of_helm_succeeds(source: Server, target: Server) -> None:
    """`helm test` asks the worker of a Deployment, and checks the settings of a Job."""
    manifests = values(source, target, "--set", "mode=job")
    test = _run_test_pod(manifests, {})
    assert (test.returncode, test.stdout) == (0, "settings are valid\n"), test.stderr

    manifests = values(source, target)
    with Pod(manifests) as pod:
        wait_until(lambda: pod.started, "the start")
        # The Service leads from its name and port to those of the pod.
        (service,) = [each for each in manifests if each["kind"] == "Service"]
        (port,) = service["spec"]["ports"]
        names = {each["name"]: each["containerPort"] for each in pod.container["ports"]}
        leads = {service["metadata"]["name"]: pod.address, str(port["port"]): str(names[port["targetPort"]])}
        assert _run_test_pod(manifests, leads).returncode == 0
    assert _run_test_pod(manifests, leads).returncode == 75


def _run_test_pod(manifests: Manifests, leads: dict[str, str]) -> subprocess.CompletedProcess[str]:
    (test,) = [each for each in manifests if each["kind"] == "Pod"]
    (container,) = test["spec"]["containers"]
    arguments = [leads.get(each, each) for each in container["args"]]
    # The same pod, for its environment and files, with the test's own command.
    shell = Pod([*[each for each in manifests if each["kind"] != "Pod"]])
    environment = shell.environment() if container.get("env") else {"PATH": "/usr/bin"}
    try:
        return subprocess.run(
            [*entrypoint(), *arguments], env=environment, text=True, capture_output=True, check=False, timeout=20
        )
    finally:
        shell.close()


def test_the_notes_name_objects_that_exist() -> None:
    """Each command of NOTES.txt is about an object of the same render."""
    for mode in ("deployment", "job"):
        given = ("--set", f"mode={mode},source.url=redis://a,target.url=redis://b", "--namespace", "apps")
        done = run(
            tool("helm4"),
            "install",
            "shaker",
            str(CHART),
            "--dry-run=client",
            *given,
            env={"KUBECONFIG": "/dev/null"},
        )
        assert done.returncode == 0, done.stderr
        notes = done.stdout.partition("NOTES:")[2]
        named = set(re.findall(r"(deployment|job|service)/(\S+)", notes))
        manifests = render("--set", f"mode={mode},source.url=redis://a,target.url=redis://b")
        objects = {(each["kind"].lower(), each["metadata"]["name"]) for each in manifests}
        assert named
        assert named <= objects
        assert notes.count("kubectl --namespace apps") == 3
