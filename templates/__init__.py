"""The Jinja2 files that infra and the provisioner render; values and at most a loop."""
