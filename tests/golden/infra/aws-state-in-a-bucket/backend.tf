# Written by mlb 0.1.0 for the fleet bench: its state lies in the user's bucket.
terraform {
  backend "s3" {
    bucket       = "mlb-states"
    key          = "team/x/mlb-bench-0a1b2c3d.tfstate"
    region       = "eu-west-1"
    encrypt      = true
    use_lockfile = true
  }
}
