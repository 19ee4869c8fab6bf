"""Models and rules that grade answers, and how far each can be trusted.

judge.py       the one interface: a grade from 1 to 10, or the better of two in a given order
prompts.py     what a model is asked when it judges, in English and Chinese, and how its reply is read
model.py       any candidate as a judge
scoring.py     a reward model, a rule or a function as a judge
naming.py      a judge by its name, as commands take it
probes.py      pairs with a known truth, made by rule: equal and unequal quality, long and short
bias.py        position, length and self-preference of a judge, with intervals
agreement.py   a judge against people, by the measures that hold between people
mt_bench.py    two-turn questions: a grade, and a win rate against a baseline in both orders
sitting.py     one model sits them: resumable, written where the leaderboard reads
"""
