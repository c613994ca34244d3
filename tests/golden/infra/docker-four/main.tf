# Written by mlb 0.1.0 for the fleet bench; a change here is lost with the next apply.
# No provider to download: Terraform's own terraform_data calls the docker command, in the context that the user chose.
# Values reach the shell only as environment variables, never as text of a command.
terraform {
  required_version = ">= 1.6.0"
}

locals {
  nodes = {
    "000" = { name = "mlb-bench-0a1b2c3d-0", host = "bench-0", ip = "10.211.7.10", port = "42000", devices = "" }
    "001" = { name = "mlb-bench-0a1b2c3d-1", host = "bench-1", ip = "10.211.7.11", port = "42001", devices = "" }
    "002" = { name = "mlb-bench-0a1b2c3d-2", host = "bench-2", ip = "10.211.7.12", port = "42002", devices = "" }
    "003" = { name = "mlb-bench-0a1b2c3d-3", host = "bench-3", ip = "10.211.7.13", port = "42003", devices = "" }
  }
}

resource "terraform_data" "image" {
  triggers_replace = ["mlb-node:6f94e082e56e"]

  provisioner "local-exec" {
    command     = "docker image inspect \"$TAG\" >/dev/null 2>&1 || docker build --quiet --tag \"$TAG\" ."
    working_dir = path.module
    environment = { TAG = "mlb-node:6f94e082e56e" }
  }
}

resource "terraform_data" "network" {
  input = { name = "mlb-bench-0a1b2c3d" }

  provisioner "local-exec" {
    command = <<-EOT
      set -eu
      docker network rm "$NAME" >/dev/null 2>&1 || true
      docker network create --subnet "$SUBNET" --label "mlb.fleet=$FLEET" --label "mlb.fleet-id=$FLEET_ID" \
        --label "mlb.owner=$OWNER" --label "mlb.expires-at=$EXPIRES" "$NAME"
    EOT
    environment = {
      NAME     = "mlb-bench-0a1b2c3d"
      SUBNET   = "10.211.7.0/24"
      FLEET    = "bench"
      FLEET_ID = "0a1b2c3d"
      OWNER    = "ada@example.org"
      EXPIRES  = "2026-11-24T10:00:00Z"
    }
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "! docker network inspect \"$NAME\" >/dev/null 2>&1 || docker network rm \"$NAME\""
    environment = { NAME = self.output.name }
  }
}

resource "terraform_data" "node" {
  for_each = local.nodes

  input      = { name = each.value.name }
  depends_on = [terraform_data.image, terraform_data.network]

  provisioner "local-exec" {
    command = <<-EOT
      set -eu
      docker rm --force "$NAME" >/dev/null 2>&1 || true
      docker run --detach --rm --name "$NAME" --hostname "$HOST" --network "$NETWORK" --ip "$IP" \
        --publish "127.0.0.1:$PORT:22" --shm-size 1g \
        --label "mlb.fleet=$FLEET" --label "mlb.fleet-id=$FLEET_ID" --label "mlb.owner=$OWNER" \
        --label "mlb.expires-at=$EXPIRES" --env MLB_DEADLINE --env MLB_AUTHORIZED_KEY "$IMAGE"
    EOT
    environment = {
      NAME               = each.value.name
      HOST               = each.value.host
      NETWORK            = "mlb-bench-0a1b2c3d"
      IP                 = each.value.ip
      PORT               = each.value.port
      DEVICES            = each.value.devices
      IMAGE              = "mlb-node:6f94e082e56e"
      FLEET              = "bench"
      FLEET_ID           = "0a1b2c3d"
      OWNER              = "ada@example.org"
      EXPIRES            = "2026-11-24T10:00:00Z"
      MLB_DEADLINE       = 1795514400
      MLB_AUTHORIZED_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbZ0mwHk6yq3Wb3mGXJd9Q4mC5rXwq3rJp0f3sPqf1D"
    }
  }

  provisioner "local-exec" {
    when        = destroy
    command     = "! docker container inspect \"$NAME\" >/dev/null 2>&1 || docker rm --force \"$NAME\""
    environment = { NAME = self.output.name }
  }
}

output "nodes" {
  value = [for key in sort(keys(local.nodes)) : {
    name       = local.nodes[key].host
    id         = terraform_data.node[key].output.name
    public_ip  = ""
    private_ip = local.nodes[key].ip
    ssh_host   = "127.0.0.1"
    ssh_port   = local.nodes[key].port
    ssh_user   = "root"
    gpus       = 0
    image      = "mlb-node:6f94e082e56e"
  }]
}
