# Written by mlb 0.1.0 for the fleet bench: its state lies in the user's bucket.
terraform {
  backend "gcs" {
    bucket = "mlb_states"
    prefix = "team/x/mlb-bench-0a1b2c3d"
  }
}
