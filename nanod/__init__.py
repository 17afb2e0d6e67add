"""nanod compiles a YAML spec of services to ordinary systemd units and applies them as one transaction."""

__version__ = "0.1.0"
