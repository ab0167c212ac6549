"""What a server exposes at ``/metrics``, parsed."""

from dataclasses import dataclass

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True)
class Exposed:
    """Metrics by name; `types` has them without ``_total``, ``_bucket`` and the like."""

    types: dict[str, str]
    samples: list[Sample]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels; fails if there is none."""
        values = [
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert values, f"{name} {labels} is not exposed"
        return sum(values)

    def labels(self, name: str) -> set[str]:
        """The names of the labels of a sample."""
        return {label for sample in self.samples if sample.name == name for label in sample.labels}

    def label_values(self, name: str, label: str) -> set[str]:
        """The values of a label."""
        samples = (sample for sample in self.samples if sample.name == name)
        return {sample.labels[label] for sample in samples if label in sample.labels}


def exposed(url: str, **headers: str) -> Exposed:
    """The metrics of a server."""
    response = httpx2.get(f"{url}/metrics", headers=headers)
    assert response.status_code == 200, response.text
    families = list(text_string_to_metric_families(response.text))
    types = {family.name: family.type for family in families}
    return Exposed(types, [sample for family in families for sample in family.samples])
