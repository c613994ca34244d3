"""Find, download, verify, prepare and load data sets; all but loading is free of torch."""
