"""From a fleet's spec to rendered Terraform, to machines, to `fleet.json`: the first and the last command."""
