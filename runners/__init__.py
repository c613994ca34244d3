"""What runs on the nodes: the agent, the worker of each rank, the training loop and its stopwatch."""
