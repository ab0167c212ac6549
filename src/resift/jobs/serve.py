"""``resift serve --ray``: deploys the server to a Ray cluster, and deletes it at the end."""

import logging
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any
from uuid import uuid4

from resift.errors import ClusterError, InputError
from resift.extras import require
from resift.files import reason
from resift.jobs.cluster import Cluster
from resift.jobs.serve_application import bound
from resift.jobs.serve_names import APPLICATION, INGRESS, REPLICA
from resift.jobs.serve_options import ReplicaOptions
from resift.jobs.serve_owner import Owner
from resift.serve.options import ServeOptions

POLL_S = 0.5
"""How often the command asks whether the replicas have started."""

WATCH_S = 5.0
"""How often it asks later whether the application still runs."""

KEEP_ALIVE_S = 75

EVERY_ADDRESS = ("0.0.0.0", "::")

ADDRESS = ("host", "port", "ssl_certfile", "ssl_keyfile")
"""The options of Ray's for where, and how, its proxies listen."""

GONE = f"{APPLICATION}: another command has deleted or replaced it"

_log = logging.getLogger("resift")


def serve_on_cluster(
    options: ServeOptions, address: str, replicas: ReplicaOptions, announce: Callable[[str], None]
) -> int:
    """Deploy the server to a cluster, and delete it at SIGTERM or Ctrl-C; returns the exit code.

    `announce` gets one line when it serves. A server that another such command has deployed is
    replaced without a failed request, and the other command ends. Raises `ClusterError` for a
    cluster that cannot be reached or whose replicas do not start, and `InputError` for a port at
    which it cannot serve.
    """
    application = bound(options, replicas)
    with Cluster(address, worker_cpus=replicas.cpus).connected(), _Stop() as stop:
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it says what it starts
        deployment = Deployment(options)
        try:
            deployment.open_port()
            deployment.run(application, stop)
            if not stop.is_set():
                announce(deployment.line())
                deployment.watch(stop)
        finally:
            deployment.delete()
    return 0


class _Stop(threading.Event):
    """Set by SIGTERM and Ctrl-C within the block."""

    def __enter__(self) -> "_Stop":
        self._before = {
            number: signal.signal(number, lambda *_: self.set())
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Deployment:
    """The application in the cluster that this process is connected to."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._port = options.port
        self._owner = Owner(uuid4().hex, ends_serve=False)
        self._deployed_s: float | None = None

    def open_port(self) -> None:
        """Start Ray Serve at the address of the options, unless it runs there already.

        Raises `InputError` if it runs at another address, or cannot listen at this one.
        """
        at = _http(self._options)
        running = _running_http()
        if running is None:
            self._owner = replace(self._owner, ends_serve=True)
            try:
                _serve().start(http_options=at)
            except _errors() as error:
                raise InputError(
                    f"{at['host']}:{at['port']}: Ray Serve cannot listen there "
                    f"({_last_line(str(error))}); name another --host or --port"
                ) from error
        else:
            at |= {} if self._options.port else {"port": running.port}
            if any(getattr(running, name) != at[name] for name in ADDRESS):
                raise InputError(
                    f"{at['host']}:{at['port']}: Ray Serve runs in this cluster already, at "
                    f"{running.host}:{running.port}; give {_typed(running)}"
                )
        self._port = at["port"]

    def run(self, application: Any, stop: threading.Event) -> None:
        """Deploy, and wait until it runs or `stop` is set.

        Raises `InputError` if another application has the name or the paths, and `ClusterError` if
        the replicas do not start.
        """
        serve = _serve()
        before, previous = _status(), Owner.read()
        if before is not None and not set(before.deployments) <= {INGRESS, REPLICA}:
            raise InputError(
                f"{APPLICATION}: this cluster has another application of this name; delete it first"
            )
        try:
            serve.run_many(
                [serve.RunTarget(application, name=APPLICATION, route_prefix="/")],
                wait_for_ingress_deployment_creation=False,
                wait_for_applications_running=False,
            )
        except _errors() as error:
            raise InputError(f"it cannot be deployed: {_last_line(str(error))}") from error
        if before is not None and previous is not None and previous.ends_serve:
            self._owner = replace(self._owner, ends_serve=True)
        self._owner.write()
        self._deployed_s = getattr(_status(), "last_deployed_time_s", None)
        while not stop.is_set():
            status = self._our_status()
            if status is None:
                raise ClusterError(f"{GONE} before its replicas have started")
            if status.status == "RUNNING":
                return
            if status.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise ClusterError(f"the replicas do not start: {_last_line(status.message)}")
            stop.wait(POLL_S)

    def line(self) -> str:
        """The line that says where the server is."""
        everywhere = self._options.host in EVERY_ADDRESS
        options = replace(self._options, host=_head()) if everywhere else self._options
        url = options.url(self._port)
        return f"resift serves on Ray at {url}; page {url}/; Ctrl-C ends it"

    def watch(self, stop: threading.Event) -> None:
        """Return when `stop` is set, or the application was deleted or replaced by others."""
        while not stop.wait(WATCH_S):
            if self._our_status() is None:
                _log.warning(GONE)
                return

    def delete(self) -> None:
        """Delete the application, unless others have replaced it, and end Serve if it is ours."""
        serve = _serve()
        if self._our_status() is not None:
            serve.delete(APPLICATION)
        if self._owner.ends_serve and not _applications():
            serve.shutdown()

    def _our_status(self) -> Any:
        """Ray's status of the application; None if others have deleted or replaced it."""
        status = _status()
        if status is None or status.last_deployed_time_s != self._deployed_s:
            return None  # the time is another one if it was deleted and deployed again
        return status if Owner.read() == self._owner else None


def _serve() -> ModuleType:
    return require("ray.serve", "ray")


def _errors() -> tuple[type[Exception], ...]:
    """What Ray raises where it cannot do what it is asked for."""
    ray, serve = require("ray.exceptions", "ray"), require("ray.serve.exceptions", "ray")
    return ray.RayError, serve.RayServeException, RuntimeError, TimeoutError, ValueError


def _status() -> Any:
    """Ray's status of the application; None if there is none."""
    return _applications().get(APPLICATION)


def _applications() -> Any:
    """Ray's status of all applications, by their names."""
    try:
        return _serve().status().applications
    except require("ray.exceptions", "ray").ActorDiedError:  # by `serve shutdown`
        return {}


def _head() -> str:
    """The address of the cluster's head node: Ray listens there, whatever the replicas do."""
    nodes = require("ray", "ray").nodes()
    heads = (node for node in nodes if "node:__internal_head__" in node["Resources"])
    return str(next(heads, nodes[0])["NodeManagerAddress"])


def _running_http() -> Any:
    """The HTTP options of the Ray Serve that runs in the cluster; None if none runs."""
    context = require("ray.serve.context", "ray")
    client = context._get_global_client(raise_if_no_controller_running=False)
    return None if client is None else client.http_config


def _http(options: ServeOptions) -> dict[str, Any]:
    """Ray's options for its HTTP proxies."""
    return {
        "host": options.host,
        "port": options.port or _free_port(options.host),
        "keep_alive_timeout_s": KEEP_ALIVE_S,
        "ssl_certfile": options.tls_cert and str(options.tls_cert.absolute()),
        "ssl_keyfile": options.tls_key and str(options.tls_key.absolute()),
    }


def _typed(running: Any) -> str:
    """The options of the command for an address of Ray's."""
    address = f"--host {running.host} --port {running.port}"
    if running.ssl_certfile is None:
        return f"{address} without --tls-cert"
    return f"{address} --tls-cert {running.ssl_certfile} --tls-key {running.ssl_keyfile}"


def _free_port(host: str) -> int:
    """A port that is free now; Ray takes no 0. Raises `InputError`."""
    try:
        with socket.create_server((host, 0)) as listener:
            port: int = listener.getsockname()[1]
            return port
    except OSError as error:
        raise InputError(f"{host}: cannot be listened at ({reason(error)})") from error


def _last_line(message: str) -> str:
    """What went wrong, out of a message of Ray's with a traceback."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), " ".join(lines)[:300])
