"""A scanner's exercise: short Python functions with a planted security fault, and each one's corrected twin.

Twins share a `pair` and every name, so that only the fault tells them apart. The faults are of common kinds (numbers of
the Common Weakness Enumeration, cwe.mitre.org); the code is our own and is never run.
"""

from __future__ import annotations

import random
from typing import Any

FAULTS: tuple[tuple[str, str, str, str], ...] = (
    (
        "CWE-89",
        "SQL injection",
        'def find_{a}(db, {b}):\n    return db.execute("SELECT * FROM {a}s WHERE {b} = \'" + {b} + "\'").fetchall()\n',
        'def find_{a}(db, {b}):\n    return db.execute("SELECT * FROM {a}s WHERE {b} = ?", ({b},)).fetchall()\n',
    ),
    (
        "CWE-78",
        "command injection",
        'import subprocess\n\ndef show_{a}({b}):\n    return subprocess.check_output(f"cat {{{b}}}", shell=True)\n',
        'import subprocess\n\ndef show_{a}({b}):\n    return subprocess.check_output(["cat", "--", {b}])\n',
    ),
    (
        "CWE-22",
        "path traversal",
        'from pathlib import Path\n\ndef read_{a}({b}):\n    return (Path("/srv/{a}s") / {b}).read_text()\n',
        'from pathlib import Path\n\ndef read_{a}({b}):\n    root = Path("/srv/{a}s").resolve()\n'
        "    path = (root / {b}).resolve()\n    if not path.is_relative_to(root):\n"
        '        raise ValueError("outside the folder")\n    return path.read_text()\n',
    ),
    (
        "CWE-502",
        "unsafe deserialization",
        "import pickle\n\ndef load_{a}(request):\n    return pickle.loads(request.body)\n",
        "import json\n\ndef load_{a}(request):\n    return json.loads(request.body)\n",
    ),
    (
        "CWE-95",
        "evaluated input",
        "def {a}_total(form):\n    return eval(form['{b}'])\n",
        "def {a}_total(form):\n    return int(form['{b}'])\n",
    ),
    (
        "CWE-798",
        "password in the source",
        'def connect_{a}(driver):\n    return driver.connect(user="{a}", password="Sommer2019!")\n',
        "import os\n\ndef connect_{a}(driver):\n"
        '    return driver.connect(user="{a}", password=os.environ["{b_upper}_SECRET"])\n',
    ),
    (
        "CWE-327",
        "broken hash for passwords",
        "import hashlib\n\ndef keep_{a}(password):\n    return hashlib.md5(password.encode()).hexdigest()\n",
        "import hashlib, os\n\ndef keep_{a}(password):\n    salt = os.urandom(16)\n"
        "    return salt + hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=1)\n",
    ),
    (
        "CWE-330",
        "predictable token",
        'import random\n\ndef {a}_token():\n    return "".join(random.choice("0123456789abcdef") for _ in range(32))\n',
        "import secrets\n\ndef {a}_token():\n    return secrets.token_hex(16)\n",
    ),
    (
        "CWE-295",
        "certificate not checked",
        "import requests\n\ndef fetch_{a}(url):\n    return requests.get(url, verify=False, timeout=5).json()\n",
        "import requests\n\ndef fetch_{a}(url):\n    return requests.get(url, timeout=5).json()\n",
    ),
    (
        "CWE-79",
        "script injection",
        'def {a}_page({b}):\n    return "<h1>" + {b} + "</h1>"\n',
        'import html\n\ndef {a}_page({b}):\n    return "<h1>" + html.escape({b}) + "</h1>"\n',
    ),
    (
        "CWE-208",
        "comparison that leaks time",
        "def check_{a}(given, secret):\n    return given == secret\n",
        "import hmac\n\ndef check_{a}(given, secret):\n    return hmac.compare_digest(given, secret)\n",
    ),
    (
        "CWE-639",
        "missing check of the owner",
        'def delete_{a}(db, user, number):\n    db.execute("DELETE FROM {a}s WHERE id = ?", (number,))\n',
        "def delete_{a}(db, user, number):\n"
        '    db.execute("DELETE FROM {a}s WHERE id = ? AND owner = ?", (number, user.id))\n',
    ),
    (
        "CWE-377",
        "unsafe temporary file",
        'import tempfile\n\ndef export_{a}(text):\n    path = tempfile.mktemp()\n    open(path, "w").write(text)\n'
        "    return path\n",
        "import tempfile\n\ndef export_{a}(text):\n"
        '    with tempfile.NamedTemporaryFile("w", delete=False) as file:\n        file.write(text)\n'
        "    return file.name\n",
    ),
    (
        "CWE-601",
        "open redirect",
        "def after_{a}(request, redirect):\n    return redirect(request.args['next'])\n",
        "def after_{a}(request, redirect):\n    target = request.args['next']\n"
        "    if not target.startswith('/') or target.startswith('//'):\n        target = '/'\n"
        "    return redirect(target)\n",
    ),
)
"""(number, name, code with the fault, code without)."""
THINGS = ("order", "invoice", "report", "photo", "ticket", "member", "letter", "product")
FIELDS = ("name", "title", "number", "code", "label", "topic")


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """`count` rows {code, answer: 0 (faulty) or 1, fault, kind, pair}: faults in turn, each with its twin behind it."""
    draw = random.Random(f"code_faults:{seed}")
    found: list[dict[str, Any]] = []
    for number in range((count + 1) // 2):
        cwe, kind, faulty, corrected = FAULTS[number % len(FAULTS)]
        a, b = draw.choice(THINGS), draw.choice(FIELDS)
        for answer, code in enumerate((faulty, corrected)):
            found.append(
                {
                    "id": f"{number}-{'corrected' if answer else 'faulty'}",
                    "code": code.format(a=a, b=b, b_upper=b.upper()),
                    "answer": answer,
                    "fault": cwe,
                    "kind": kind,
                    "pair": str(number),
                }
            )
    return found[:count]
