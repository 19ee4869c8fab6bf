"""The town: a small invented city, in English and Chinese, whose facts are all known (DESIGN section 11).

It makes everything that the ladder needs from one seed: text for pre-training, demonstrations, simulated labellers and
the exam. Nothing below this room imports it.

    chance.py          the integer random generator: same seed, same bytes, on every machine
    people.py          residents, their facts, which facts are withheld, the splits A B C D E
    phrases.py         the YAML tables of phrases (phrases/*.yaml)
    questions.py       questions about residents, sums, sorting, requests, each with its truth
    first_words.py     what a stranger types first: greetings, the world outside, passages, unknown words
    careless.py        lower case, missing punctuation, small typos
    documents.py       the text of stage 1: statements, strangers, fair copies
    dialogues.py       the text of stage 1 that asks and answers: dialogues, notices, sheets, sums, lists
    skills.py          small skills for demonstrations: extract, translate, verse, tools
    demonstrations.py  the conversations of stage 2, the prompts of stages 3 and 4
    tokens.py          the tokenizer
    grading.py         verdicts on answers: right, pass, wrong, true of another, refusal, malformed
    answer_kinds.py    which kind of answer a text is, for first words
    labellers.py       simulated labellers: a stated taste, adjustable noise, a known ceiling
    exam.py            frozen questions about residents C, and first words in held-out wordings
    examiner.py        asks a model the exam and computes the figures
    first_words_targets.py  what the exam of first words must reach
    rounds.py          completions of the policy, ranked by the labellers
    world.py           the town as a world of the ladder
    finals.py          the final exam of a climb; controls.py: other uses of PPO's time
    targets.py         what the ladder must reach on it
    tables.py          the town's tables and pages of the report
"""
