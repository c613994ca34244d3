"""What people look at: pages and pictures of runs, made on the controller from the values of `results`."""
