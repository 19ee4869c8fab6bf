"""Scaling: a series of models of growing size on one corpus, what it predicts, and what only large ones can.

skills.py    sums, copies and translations made by rule, and questions about unseen ones
corpus.py    the text of the series: pieces, shuffled, with a share of a skill mixed in
plan.py      sizes and tokens from the budget and the measured speed, frozen in series.json
series.py    the runs, each an ordinary run of `ziggurat pretrain`; the prediction before the largest
probe.py     a skill asked of a model: a sharp and a smooth measure
curve.py     a measure over the checkpoints of one run
findings.py  laws, intervals, the held-out model, advice for a budget
report.py    report.html
"""
