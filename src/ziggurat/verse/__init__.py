"""Chinese verse in regular forms: the same four stages as the town's, on real poems, for the recipe `poet`.

What is to be learned can be checked by rule: how many lines of how many characters, and whether they rhyme. The rule is
the *gold* check: it chooses checkpoints and sits the exam, and is never the reward.

    prosody.py         form and rhyme, and the figures that a sheaf of poems makes by them
    poems.py           the poems as a file brings them: split, text of stage 1, characters of the tokenizer
    demonstrations.py  what is asked for (a form and a title, an acrostic) and what a poet answered
    labellers.py       simulated labellers who know rhyme: stated taste, noise, known ceiling
    rounds.py          one round: completions of the policy, some of them mended or spoiled, ranked
    exam.py            poems on titles never met, put through the gold check
    plan.py            a time budget becomes step counts
    climb.py           climbs the four stages
    report.py          gates, tables and the page
    recipe.yaml        every setting (`poet`)
"""
