# Written by mlb 0.1.0 for the fleet bench; a change here is lost with the next apply.
terraform {
  required_version = ">= 1.6.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

provider "aws" {
  region = "us-east-1"
  # The provider's 25 tries would wait for capacity for the better part of an hour; mlb tries the next zone instead.
  max_retries = 4
  # The account that the fleet was made in: other credentials must neither change nor destroy it.
  allowed_account_ids = ["123456789012"]
  default_tags {
    tags = local.tags
  }
}

locals {
  tags = {
    "Name"           = "mlb-bench-0a1b2c3d"
    "mlb:fleet"      = "bench"
    "mlb:fleet-id"   = "0a1b2c3d"
    "mlb:owner"      = "ada@example.org"
    "mlb:created"    = "2026-11-24T06:00:00Z"
    "mlb:expires-at" = "2026-11-24T10:00:00Z"
    "mlb:version"    = "0.1.0"
  }
}

resource "aws_vpc" "fleet" {
  cidr_block = "10.20.0.0/16"
}

resource "aws_internet_gateway" "fleet" {
  vpc_id = aws_vpc.fleet.id
}

resource "aws_subnet" "fleet" {
  vpc_id            = aws_vpc.fleet.id
  cidr_block        = "10.20.0.0/20"
  availability_zone = "us-east-1a"
}

resource "aws_route_table" "fleet" {
  vpc_id = aws_vpc.fleet.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.fleet.id
  }
}

resource "aws_route_table_association" "fleet" {
  subnet_id      = aws_subnet.fleet.id
  route_table_id = aws_route_table.fleet.id
}

resource "aws_security_group" "fleet" {
  name        = "mlb-bench-0a1b2c3d"
  description = "mlb: port 22 from one network, everything between the nodes"
  vpc_id      = aws_vpc.fleet.id
}

resource "aws_vpc_security_group_ingress_rule" "ssh" {
  security_group_id = aws_security_group.fleet.id
  description       = "SSH"
  cidr_ipv4         = "198.51.100.7/32"
  ip_protocol       = "tcp"
  from_port         = 22
  to_port           = 22
}

# The nodes among themselves.
resource "aws_vpc_security_group_ingress_rule" "nodes" {
  security_group_id            = aws_security_group.fleet.id
  referenced_security_group_id = aws_security_group.fleet.id
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.fleet.id
  description       = "out"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

resource "aws_key_pair" "fleet" {
  key_name   = "mlb-bench-0a1b2c3d"
  public_key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKbZ0mwHk6yq3Wb3mGXJd9Q4mC5rXwq3rJp0f3sPqf1D"
}

resource "aws_placement_group" "fleet" {
  name     = "mlb-bench-0a1b2c3d"
  strategy = "cluster"
}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-22.04/latest/ami-id"
}

resource "aws_instance" "node" {
  count = 1

  ami                         = nonsensitive(data.aws_ssm_parameter.image.value)
  instance_type               = "g4dn.xlarge"
  subnet_id                   = aws_subnet.fleet.id
  vpc_security_group_ids      = [aws_security_group.fleet.id]
  associate_public_ip_address = true
  key_name                    = aws_key_pair.fleet.key_name
  placement_group             = aws_placement_group.fleet.name

  # Powering off is the end of the machine and of its bill; the user data does so at the deadline.
  instance_initiated_shutdown_behavior = "terminate"
  user_data                            = file("${path.module}/user-data.yaml")

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = 100
    encrypted             = true
    delete_on_termination = true
  }

  volume_tags = local.tags
  tags        = { "Name" = format("%s-%d", "bench", count.index) }

  depends_on = [
    aws_route_table_association.fleet,
    aws_vpc_security_group_ingress_rule.ssh,
    aws_vpc_security_group_ingress_rule.nodes,
    aws_vpc_security_group_egress_rule.all,
  ]

  lifecycle {
    # A newer image or another deadline is for new nodes; nodes that work are left alone.
    ignore_changes = [ami, user_data]
  }
}

output "nodes" {
  value = [for i, node in aws_instance.node : {
    name       = format("%s-%d", "bench", i)
    id         = node.id
    public_ip  = node.public_ip
    private_ip = node.private_ip
    ssh_host   = node.public_ip
    ssh_port   = 22
    ssh_user   = "ubuntu"
    gpus       = 1
    image      = node.ami
  }]
}
