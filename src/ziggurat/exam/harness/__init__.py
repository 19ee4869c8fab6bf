"""The exam room of other people: tasks in the form of lm-evaluation-harness."""
