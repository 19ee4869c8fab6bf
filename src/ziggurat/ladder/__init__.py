"""The climb of a world through all four stages: plan, files, stages in rounds, exam, report.

world.py      what a world provides, and how worlds are found by name
folder.py     the world of a person's own files
sizes.py      model size and amounts of work for these files
plan.py       a time budget becomes numbers of steps
climb.py      one climb: its frozen plan, its runs, its clocks
stages.py     the files, then pretrain, sft and rounds of sample, reward and ppo
rankings.py   one round's comparisons, and what is known of simulated labellers
held_out.py   the exam of a world without one: figures on held-out data
complete.py   stages, exam and report of one climb
targets.py    what an exam must reach
report.py     exam/report.json, answers.jsonl, report.html
"""
