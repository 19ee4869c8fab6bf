"""From a dataset version to a candidate: materials, canaries, method, phases, the job."""
