"""Proves that the manifest for KubeRay fits Kubernetes, Ray Serve and the server."""

from pathlib import Path
from typing import Any

import pytest

from resift.jobs.serve_options import ReplicaOptions
from resift.serve import gate
from resift.serve.server import DRAIN_S
from serve import deploy_files
from serve.deploy_files import documents, settings

SERVICE = "resift-serve-svc"
"""The name that KubeRay gives to the Service of a RayService that is named resift."""

CLUSTER_FIELDS = {
    "rayVersion",
    "enableInTreeAutoscaling",
    "autoscalerOptions",
    "headGroupSpec",
    "workerGroupSpecs",
}
GROUP_FIELDS = {
    "groupName",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "rayStartParams",
    "template",
}


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """The specification of the RayService."""
    entry, _ = documents("kuberay.yaml")
    assert (entry["kind"], entry["apiVersion"]) == ("RayService", "ray.io/v1")
    assert f"{entry['metadata']['name']}-serve-svc" == SERVICE
    return dict(entry["spec"])


@pytest.fixture(scope="module")
def config(service: dict[str, Any]) -> dict[str, Any]:
    """The configuration of Ray Serve."""
    yaml = pytest.importorskip("yaml")
    return dict(yaml.safe_load(service["serveConfigV2"]))


@pytest.fixture(scope="module")
def arguments(config: dict[str, Any]) -> dict[str, Any]:
    """The options of the server."""
    (application,) = config["applications"]
    return dict(application["args"])


@pytest.fixture(scope="module")
def worker(service: dict[str, Any]) -> dict[str, Any]:
    (group,) = service["rayClusterConfig"]["workerGroupSpecs"]
    return dict(group)


@pytest.fixture(scope="module")
def pods(service: dict[str, Any], worker: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The templates of the head and of a worker."""
    head = service["rayClusterConfig"]["headGroupSpec"]["template"]
    return {"head": head, "worker": worker["template"]}


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    return dict(only)


@pytest.mark.parametrize("release", ["1.30", "latest"])
def test_kubernetes_knows_every_field_of_the_pods(
    pods: dict[str, dict[str, Any]], release: str
) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    known = schemas.latest_version() if release == "latest" else release
    (_, budget) = documents("kuberay.yaml")
    for name, template in pods.items():
        metadata = template["metadata"] | {"name": name}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        schemas.validate(pod, known, strict=True)
    schemas.validate(budget, known, strict=True)


def test_kuberay_knows_every_field(service: dict[str, Any], worker: dict[str, Any]) -> None:
    assert set(service) == {"serveConfigV2", "rayClusterConfig"}
    assert set(service["rayClusterConfig"]) == CLUSTER_FIELDS
    assert set(worker) == GROUP_FIELDS
    assert set(service["rayClusterConfig"]["headGroupSpec"]) <= GROUP_FIELDS
    parameters = [worker["rayStartParams"]]
    parameters.append(service["rayClusterConfig"]["headGroupSpec"]["rayStartParams"])
    assert all(isinstance(value, str) for given in parameters for value in given.values())


def test_ray_makes_the_application_of_its_arguments(
    config: dict[str, Any], arguments: dict[str, Any], tmp_path: Path, ray_serve: Any
) -> None:
    from ray._common.utils import import_attr
    from ray.serve.schema import ServeDeploySchema

    schema = ServeDeploySchema.model_validate(config)
    (application,) = schema.applications
    keys = tmp_path / "keys"
    keys.write_text("a-key-of-a-caller\n")
    built = import_attr(application.import_path)(arguments | {"keys": str(keys)})
    ingress = built._bound_deployment
    assert ingress.name == "Ingress"
    replica = ingress.init_args[0]._bound_deployment
    options = replica.init_args[0]
    assert options.indexes == tuple(arguments["index"]) and options.keys is None
    assert ingress.init_args[1].keys == keys
    scaling = replica._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (2, 8)
    assert replica.ray_actor_options["num_cpus"] == arguments["replica_cpus"]


def test_the_ports_and_names_are_those_of_the_server(
    config: dict[str, Any], arguments: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    http = config["http_options"]
    assert http["host"] == "0.0.0.0"
    for pod in pods.values():
        ports = {entry["name"]: entry["containerPort"] for entry in container(pod)["ports"]}
        assert ports["serve"] == http["port"]
        probes = [value for key, value in container(pod).items() if key.endswith("Probe")]
        assert {probe["httpGet"]["port"] for probe in probes} <= set(ports)
    assert arguments["allowed_host"] == [SERVICE]


def test_a_worker_has_room_for_a_replica(
    arguments: dict[str, Any], worker: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    replicas = ReplicaOptions.parse(arguments["replicas"], arguments["replica_cpus"])
    assert (worker["minReplicas"], worker["maxReplicas"]) == (replicas.least, replicas.most)
    resources = container(pods["worker"])["resources"]
    assert resources["limits"]["cpu"] == resources["requests"]["cpu"] == str(replicas.cpus)


def test_pods_are_users_without_rights_and_hold_keys_secrets_and_copies(
    arguments: dict[str, Any],
    pods: dict[str, dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = arguments["keys"].rpartition("/")[0]
    for pod in pods.values():
        only = container(pod)
        user = pod["spec"]["securityContext"]
        assert user["runAsNonRoot"]
        assert f"{user['runAsUser']}:{user['runAsGroup']}" == deploy_files.last("USER")
        assert only["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert only["image"] == f"resift-ray:{deploy_files.version()}"
        assert only["envFrom"] == [{"secretRef": {"name": "resift-s3"}}]
        mounts = {mount["mountPath"]: mount["name"] for mount in only["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert set(mounts.values()) == set(volumes)
        assert volumes[mounts[folder]]["secret"]["secretName"] == "resift-keys"
        given = {entry["name"]: entry["value"] for entry in only["env"]}
        loaded = settings(given, caplog)
    cache = volumes[mounts[str(loaded.cache_dir)]]["emptyDir"]["sizeLimit"]
    assert int(cache.removesuffix("Gi")) > loaded.cache_gb
    assert only["resources"]["requests"]["ephemeral-storage"] == cache
    memory = volumes[mounts["/dev/shm"]]["emptyDir"]
    assert memory["medium"] == "Memory"


def test_kuberay_finds_ray_in_the_container_of_the_autoscaler(
    service: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    # It has the image of the head, and no variables of the containers here.
    assert service["rayClusterConfig"]["enableInTreeAutoscaling"]
    assert ("ENV", "PATH=/opt/resift/bin:$PATH") in deploy_files.instructions()
    names = {entry["name"] for pod in pods.values() for entry in container(pod)["env"]}
    assert "PATH" not in names


def test_bodies_fit_the_object_store_and_pods_go_in_order(
    worker: dict[str, Any], pods: dict[str, dict[str, Any]]
) -> None:
    assert int(worker["rayStartParams"]["object-store-memory"]) >= gate.MAX_BODIES_BYTES
    pod = pods["worker"]["spec"]
    sleep = container(pods["worker"])["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert sleep > container(pods["worker"])["readinessProbe"]["periodSeconds"]
    assert sleep + DRAIN_S < pod["terminationGracePeriodSeconds"]
    (_, budget) = documents("kuberay.yaml")
    labels = pods["worker"]["metadata"]["labels"]
    assert budget["spec"]["selector"] == {"matchLabels": labels}
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["labelSelector"] == {"matchLabels": labels}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"indexes": ["a"]}, "indexes: no such option"),
        ({"index": 3}, "index=3: expected a list of names"),
        ({"index": [3]}, r"index=\[3\]: expected a list of names"),
        ({"replicas": "8:2"}, "replicas=8:2: expected"),
        ({"max_queue_tokens": "many"}, "max_queue_tokens='many': expected a whole number"),
        ({"keys": ["/etc/resift/keys"]}, "keys=.*: expected the path of a file"),
        ({"replica_cpus": 1.5}, "replica_cpus=1.5: expected a whole number"),
    ],
)
def test_arguments_that_cannot_be_meant_are_refused(
    arguments: dict[str, Any], message: str
) -> None:
    from resift.errors import InputError
    from resift.jobs.serve_application import application

    with pytest.raises(InputError, match=message):
        application(arguments)
