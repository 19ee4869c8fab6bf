"""The town: a small invented city, in English and Chinese, whose truth is known (DESIGN section 11).

It generates everything the ladder needs from one seed: text for pre-training, demonstrations, simulated
labellers and the exam. Nothing below this room knows that it exists.

    chance.py          the integer random generator: same seed, same bytes, on every machine
    people.py          residents, their facts, which facts are withheld, the splits A B C D
    phrases.py         the YAML tables of what can be said (phrases/*.yaml)
    questions.py       what is asked and what is true: facts, sums, sorting, requests
    documents.py       the text of stage 1
    demonstrations.py  the conversations of stage 2, the prompts of stages 3 and 4
    grading.py         what an answer says: right, pass, wrong, true of another, refusal
    labellers.py       simulated labellers: stated taste, adjustable noise, known ceiling
    exam.py            frozen questions about residents C
    examiner.py        puts the exam to a model and counts
    rounds.py          completions of the policy, ranked by the labellers
    world.py           the town as a world of the ladder
    finals.py          the final exam of a climb; controls.py: other uses of PPO's time
    targets.py         what the ladder must reach on it
    tables.py          the town's tables and pages of the report
"""
