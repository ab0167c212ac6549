"""The application of Ray Serve: replicas of the server behind an ingress."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from resift.errors import InputError, shown
from resift.extras import require
from resift.jobs.serve_ingress import Ingress
from resift.jobs.serve_names import INGRESS, REPLICA
from resift.jobs.serve_options import ReplicaOptions, check_for_cluster, target_tokens
from resift.jobs.serve_replica import Replica
from resift.jobs.serve_scaling import QueuedTokens
from resift.serve.admission import MAX_QUEUE_TOKENS
from resift.serve.options import ServeOptions
from resift.serve.server import DRAIN_S
from resift.serve.service import Service

MAX_CALLS = 1_000
"""Requests that a replica may hold: many, because the server refuses by tokens, with 429."""

INGRESSES = 2
"""Ingresses, where there may be several replicas: requests go on if one of them dies."""

HEALTH_S = 5.0
"""How often Ray asks a replica whether it is well; it has 30 seconds to answer."""

UP_S, DOWN_S, LOOK_BACK_S = 10.0, 300.0, 15.0
"""How long the queue must be long, or short, before a replica is added, or ended; and the time over
which its length is averaged."""


def application(arguments: Mapping[str, Any]) -> Any:
    """The application for ``import_path`` in a configuration of Ray Serve, such as KubeRay's.

    `arguments` are options of ``resift serve`` by name: ``model``, ``index`` and ``allowed_host``
    (lists), ``keys``, ``max_queue_tokens``, ``replicas`` and ``replica_cpus``. Ray's configuration
    has address and TLS. Raises `InputError` for one that is not valid.
    """
    given = dict(arguments)
    replicas = ReplicaOptions.parse(
        str(given.pop("replicas", "1")), _number(given, "replica_cpus", 1)
    )
    keys = given.pop("keys", None)
    if not isinstance(keys, str | None):
        raise InputError(f"keys={shown(keys)}: expected the path of a file")
    options = ServeOptions(
        models=_names("model", given.pop("model", ())),
        indexes=_names("index", given.pop("index", ())),
        host="0.0.0.0",
        keys=None if keys is None else Path(keys),
        max_queue_tokens=_number(given, "max_queue_tokens", MAX_QUEUE_TOKENS),
        allowed_hosts=_names("allowed_host", given.pop("allowed_host", ())),
    )
    if given:
        raise InputError(f"{', '.join(given)}: no such option of a server on a cluster")
    return bound(options, replicas)


def bound(options: ServeOptions, replicas: ReplicaOptions) -> Any:
    """The application with its options: what ``serve.run`` takes."""
    check_for_cluster(options)
    Service.check(options.models, options.indexes)
    serve = require("ray.serve", "ray")
    config = require("ray.serve.config", "ray")
    common = {
        "health_check_period_s": HEALTH_S,
        "graceful_shutdown_timeout_s": DRAIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "logging_config": {"enable_access_log": False},  # the server logs its requests itself
    }
    server = serve.deployment(
        name=REPLICA,
        ray_actor_options={"num_cpus": replicas.cpus},
        max_ongoing_requests=MAX_CALLS,
        max_constructor_retry_count=3,
        health_check_timeout_s=30,
        autoscaling_config=config.AutoscalingConfig(
            min_replicas=replicas.least,
            max_replicas=replicas.most,
            upscale_delay_s=UP_S,
            downscale_delay_s=DOWN_S,
            look_back_period_s=LOOK_BACK_S,
            policy=config.AutoscalingPolicy(
                policy_function=QueuedTokens, policy_kwargs={"target": target_tokens(options)}
            ),
        ),
        **common,
    )(Replica)
    ingress = serve.deployment(
        name=INGRESS,
        num_replicas=min(INGRESSES, replicas.most),
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=MAX_CALLS * replicas.most,
        **common,
    )(serve.ingress()(Ingress))
    # Keys are checked by the ingress, and a replica has no port that could have TLS.
    inner = replace(options, keys=None, tls_cert=None, tls_key=None)
    return ingress.bind(server.bind(inner, cpus=replicas.cpus), options)


def _names(option: str, value: object) -> tuple[str, ...]:
    """The names of an option that may be repeated: a list, or one name."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{option}={shown(value)}: expected a list of names")
    return tuple(names)


def _number(given: dict[str, Any], option: str, default: int) -> int:
    """Take a whole number out of the options."""
    value = given.pop(option, default)
    if type(value) is not int:
        raise InputError(f"{option}={shown(value)}: expected a whole number")
    return value
