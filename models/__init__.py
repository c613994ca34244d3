"""Networks; torch only, one concept a class, a config dataclass first."""
