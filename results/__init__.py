"""From the event logs of a run folder to metrics and a report; imports no torch and nothing of ours."""
