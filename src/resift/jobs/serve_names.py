"""Names in a cluster: those of the application, of its deployments, and of this replica."""

from resift.extras import require

APPLICATION = "resift"
INGRESS = "Ingress"
REPLICA = "Replica"


def replica_name() -> str:
    """The name that Ray has given to the replica of this process."""
    serve = require("ray.serve", "ray")
    return str(serve.get_replica_context().replica_id.unique_id)
