"""`mlb` rents a fleet, runs a reference task of distributed training on it, and says where the time went.

The map of the house, in the order of the flow; each room's `__init__` says the same in one sentence:

    cli/          asks and prints: the only room with typer, rich, exit codes and prompts
    infra/        fleet spec -> rendered Terraform -> fleet.json                   (controller, no torch)
    templates/    the Jinja2 files that infra and the provisioner render
    provisioner/  fleet -> launch plan -> a run on its nodes, followed to its end  (controller, no torch)
    runners/      what runs on the nodes: agent, worker, training loop, stopwatch  (node)
    tasks/        the reference tasks, one file each, and a torch-free catalogue   (node; catalogue anywhere)
    models/       networks, torch only                                             (node)
    datasets/     find, download, verify, prepare, load                            (node; preparing is torch-free)
    aggregation/  communication patterns, one file each                            (node)
    results/      run folder -> event log -> metrics -> report                     (both sides, no torch)
    doctor/       what can be wrong before the first run, and how to mend it       (controller, no torch)
    pages/        metrics -> charts and pages that need nothing else               (controller, no torch)
    dashboard/    fleets and runs, live, in a browser                              (controller, no torch)
    benchmarks/   what is measured of mlb itself, with the numbers; not installed
    errors.py     the error tree, free to all
    option.py     what is written NAME[:OPTION=VALUE]: its options and their bounds, free to all
"""

__version__ = "0.1.0"
