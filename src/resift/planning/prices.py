"""The price table: a TOML file that the user may copy and change."""

import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from resift.errors import InputError
from resift.planning.tables import amount, check_keys, read_text, table

HOURS_A_MONTH = 730.0
_MACHINE = ("cores", "memory_gb", "core_hour", "memory_gb_hour", "disk_gb_month")
_STORAGE = ("gb_month", "puts_1000", "gets_1000", "egress_gb")


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices in one currency. `label` says whose they are, and of when.

    A machine has `cores` and `memory_gb`. `core_hour` is the price of a core for an hour, and so
    on. `egress_gb` is for answers that leave the region.
    """

    label: str
    cores: float
    memory_gb: float
    core_hour: float
    memory_gb_hour: float
    disk_gb_month: float
    gb_month: float
    puts_1000: float
    gets_1000: float
    egress_gb: float

    @property
    def machine_hour(self) -> float:
        """A machine for an hour, without its disk."""
        return self.cores * self.core_hour + self.memory_gb * self.memory_gb_hour

    def requests(self, puts: float, gets: float) -> float:
        """The price of so many requests to object storage."""
        return puts / 1e3 * self.puts_1000 + gets / 1e3 * self.gets_1000


def bundled_prices() -> str:
    """The text of the table that comes with the package."""
    return files("resift.planning").joinpath("prices.toml").read_text(encoding="utf-8")


def read_prices(file: Path | None = None) -> Prices:
    """Read a price table; None is the one of the package. Raises `InputError`."""
    where = "prices.toml" if file is None else str(file)
    text = bundled_prices() if file is None else read_text(file)
    try:
        values = tomllib.loads(text)
    except ValueError as error:
        raise InputError(
            f"{where}: not TOML ({error}); resift plan --show-prices prints an example"
        ) from error
    check_keys(where, values, ("label", "date", "machine", "object_storage"))
    numbers: dict[str, Any] = {}
    for name, keys in (("machine", _MACHINE), ("object_storage", _STORAGE)):
        rows = table(f"{where}: [{name}]", values[name])
        check_keys(f"{where}: [{name}]", rows, keys)
        for key in keys:
            least = {"cores": 1.0, "memory_gb": 0.1}.get(key, 0.0)
            numbers[key] = amount(f"{where}: [{name}] {key}", rows[key], least)
    if not float(numbers["cores"]).is_integer():
        raise InputError(f"{where}: [machine] cores = {numbers['cores']}: expected a whole number")
    return Prices(f"{values['label']}, {values['date']}", **numbers)
