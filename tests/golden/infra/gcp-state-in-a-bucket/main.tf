# Written by mlb 0.1.0 for the fleet bench; a change here is lost with the next apply.
terraform {
  required_version = ">= 1.6.0"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project = "bench-1234"
  region  = "us-central1"
}

locals {
  labels = {
    "mlb-fleet"      = "bench"
    "mlb-fleet-id"   = "0a1b2c3d"
    "mlb-owner"      = "ada-example-org"
    "mlb-region"     = "us-central1"
    "mlb-created"    = "1795500000"
    "mlb-expires-at" = "1795514400"
    "mlb-version"    = "0-1-0"
  }
  # Networks, rules and policies cannot be labelled: their description holds the same, for who looks for leftovers.
  marks = jsonencode(local.labels)
}

resource "google_compute_network" "fleet" {
  name                    = "mlb-bench-0a1b2c3d"
  description             = local.marks
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "fleet" {
  name          = "mlb-bench-0a1b2c3d"
  description   = local.marks
  network       = google_compute_network.fleet.id
  region        = "us-central1"
  ip_cidr_range = "10.20.0.0/20"
}

resource "google_compute_firewall" "ssh" {
  name          = "mlb-bench-0a1b2c3d-ssh"
  description   = local.marks
  network       = google_compute_network.fleet.id
  source_ranges = ["198.51.100.7/32"]
  target_tags   = ["mlb-bench-0a1b2c3d"]
  allow {
    protocol = "tcp"
    ports    = ["22"]
  }
}

resource "google_compute_firewall" "nodes" {
  name        = "mlb-bench-0a1b2c3d-nodes"
  description = local.marks
  network     = google_compute_network.fleet.id
  source_tags = ["mlb-bench-0a1b2c3d"]
  target_tags = ["mlb-bench-0a1b2c3d"]
  allow {
    protocol = "all"
  }
}

resource "google_compute_resource_policy" "compact" {
  name        = "mlb-bench-0a1b2c3d"
  description = local.marks
  region      = "us-central1"
  group_placement_policy {
    collocation = "COLLOCATED"
  }
}

data "google_compute_image" "image" {
  project = "deeplearning-platform-release"
  family  = "common-cu128-ubuntu-2204-nvidia-570"
}

resource "google_compute_instance" "node" {
  count = 1

  name         = format("%s-%d", "mlb-bench-0a1b2c3d", count.index)
  zone         = "us-central1-a"
  machine_type = "a2-highgpu-2g"
  labels       = local.labels
  tags         = ["mlb-bench-0a1b2c3d"]

  resource_policies = [google_compute_resource_policy.compact.self_link]

  boot_disk {
    auto_delete = true
    initialize_params {
      image  = data.google_compute_image.image.self_link
      size   = 100
      type   = "pd-balanced"
      labels = local.labels
    }
  }

  network_interface {
    subnetwork = google_compute_subnetwork.fleet.id
    nic_type   = "GVNIC"
    access_config {}
  }

  # Google itself deletes the machine, whatever runs or does not run on it.
  scheduling {
    provisioning_model          = "STANDARD"
    preemptible                 = false
    automatic_restart           = false
    on_host_maintenance         = "TERMINATE"
    instance_termination_action = "DELETE"
    max_run_duration {
      seconds = 14400
    }
  }

  # No service account: a node holds no credentials. Guest attributes are how mlb learns the host keys; a project that
  # has OS Login switched on would take no keys from here.
  metadata = {
    "enable-guest-attributes"          = "TRUE"
    "block-project-ssh-keys"           = "TRUE"
    "enable-oslogin"                   = "FALSE"
    "google_disable_automatic_updates" = "TRUE"
    "ssh-keys"                         = "mlb:ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbZ0mwHk6yq3Wb3mGXJd9Q4mC5rXwq3rJp0f3sPqf1D"
  }

  depends_on = [google_compute_firewall.ssh, google_compute_firewall.nodes]

  lifecycle {
    # A newer image or less time left is for new nodes; nodes that work are left alone.
    ignore_changes = [boot_disk[0].initialize_params[0].image, scheduling[0].max_run_duration]
  }
}

output "nodes" {
  value = [for i, node in google_compute_instance.node : {
    name       = format("%s-%d", "bench", i)
    id         = node.name
    public_ip  = node.network_interface[0].access_config[0].nat_ip
    private_ip = node.network_interface[0].network_ip
    ssh_host   = node.network_interface[0].access_config[0].nat_ip
    ssh_port   = 22
    ssh_user   = "mlb"
    gpus       = 2
    image      = node.boot_disk[0].initialize_params[0].image
  }]
}
