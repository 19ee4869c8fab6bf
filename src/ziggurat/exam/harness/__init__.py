"""The exam room of other people: task files of lm-evaluation-harness, read without editing, with local data.

files.py     YAML with include and !function, groups and tags
docs.py      the documents: local JSON, CSV and Parquet files
prompts.py   templates, worked examples, prompts
scoring.py   filters, metrics, averages
running.py   documents to a candidate, and marks
opening.py   a task file as a task of the exam room

Numbers equal those of lm-evaluation-harness 0.4.13 (tests/exam/test_harness.py runs both side by side).
"""
