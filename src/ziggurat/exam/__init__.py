"""The exam room: tasks that any model can sit, their figures with intervals, judges, and a report.

task.py       what a task is: task.yaml, read strictly
item.py       one question as a model sees it, and what was found when a model answered
candidate.py  what may sit: a model in this process, or a server elsewhere
metrics/      from an answer to a score, one small file each
rules/        what a text keeps or breaks, for the metric `rules`
generators/   rows made by rule, with a known truth
tasks/        the tasks that are shipped: a folder each
"""
