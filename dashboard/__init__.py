"""A local web page over the same files as the command line: fleets and runs as they go on."""
