"""The `ziggurat` command: a table of commands, each imported only when it is called.

Convention. `COMMANDS` maps a command to "module:attribute" and one line of help.

- A *group* (`ziggurat tokenizer train`) is a `typer.Typer` called `app` in its module.
- A *single command* (`ziggurat ppo`) is a plain function with typer annotations; its docstring is the help, opening
  with what it does and then real examples in a block that starts with `\\b`.
- A command returns None, or an int as its exit code. It does not catch errors: a `ZigguratError` becomes one sentence
  on stderr and an exit code in `run`, Ctrl-C becomes 130, a full disk one sentence and 2. Bugs keep their traceback.
- No module under `cli/` imports torch, or anything that does, before its command runs.

The overview (`ziggurat --help`) is printed from the table, so it appears at once, and one broken room does not hide the
other commands.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, cast

from ziggurat.errors import UsageError, ZigguratError, did_you_mean
from ziggurat.processes import rank, writes
from ziggurat.stages.catalog import BUILT_IN
from ziggurat.stages.stage import declared
from ziggurat.version import __version__

if TYPE_CHECKING:
    import typer

INTERRUPTED = 130  # 128 + SIGINT, as shells count


class Entry(NamedTuple):
    target: str  # "module:attribute"
    help: str


STAGES = "The stages"
SECTIONS: dict[str, dict[str, Entry]] = {
    "The whole ladder": {
        "ladder": Entry(
            "ziggurat.cli.ladder:ladder",
            "Climb all four stages on the town or on your own files, report, and chat.",
        ),
        "town": Entry("ziggurat.cli.town:app", "Write the embedded little world's files."),
        "poet": Entry("ziggurat.cli.poet:poet", "Climb all four stages on Chinese verse, report, and chat."),
    },
    STAGES: {
        **{stage.name: Entry(f"ziggurat.cli.stages:{stage.name}", stage.title) for stage in BUILT_IN},
        "plan": Entry("ziggurat.cli.plan:app", "Memory and time of a run, before it begins."),
        "sample": Entry("ziggurat.cli.stages:sample", "Let a model write completions that people can rank."),
    },
    "Using a model": {
        "chat": Entry("ziggurat.cli.chat:chat", "Talk to a model in the terminal."),
        "generate": Entry("ziggurat.cli.chat:generate", "Complete a text or answer prompts."),
        "serve": Entry(
            "ziggurat.cli.serve:serve", "Serve the chat page and an OpenAI-compatible API on this machine."
        ),
        "key": Entry("ziggurat.cli.key:app", "Make API keys for `serve`."),
        "moderation": Entry("ziggurat.cli.moderation:app", "Train and try the layers of `/v1/moderations`."),
        "flywheel": Entry(
            "ziggurat.cli.flywheel:app", "Turn people's judgements into the next release, gated and undoable."
        ),
        "eval": Entry("ziggurat.cli.evaluate:evaluate", "Measure a model on held-out data."),
        "exam": Entry("ziggurat.cli.exam:exam", "What models can do: tasks, one table, one page."),
        "judge": Entry(
            "ziggurat.cli.judge:app",
            "Let a model, a reward model or a rule judge answers, and test the judge.",
        ),
        "leaderboard": Entry(
            "ziggurat.cli.leaderboard:leaderboard", "All models that sat an exam, in one table."
        ),
        "tax": Entry(
            "ziggurat.cli.tax:tax", "What a stage of training costs: abilities lost, facts forgotten."
        ),
        "advise": Entry("ziggurat.cli.leaderboard:advise", "Say whether a task is one for a language model."),
    },
    "Looking and keeping": {
        "tokenizer": Entry("ziggurat.cli.tokenizer:app", "Train, show and compare tokenizers."),
        "models": Entry(
            "ziggurat.cli.models:app", "Fetch, import, export, list and remove models from elsewhere."
        ),
        "data": Entry("ziggurat.cli.data:app", "Check and show data files."),
        "runs": Entry("ziggurat.cli.runs:app", "List, show, compare and remove runs."),
        "store": Entry(
            "ziggurat.cli.store:app", "Look at the store of the chat, copy it, verify it, restore it."
        ),
        "bench": Entry("ziggurat.cli.bench:app", "Measure generation against this machine's limits."),
        "env": Entry(
            "ziggurat.cli.env:env", "Versions and hardware, for bug reports; --measure times this machine."
        ),
    },
}
COMMANDS: dict[str, Entry] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


def outside() -> dict[str, Entry]:
    """The commands of the stages that other packages declare; one with the name of a command is refused aloud."""
    found = {name: Entry(f"ziggurat.cli.stages:{name}", stage.title) for name, stage in declared().items()}
    return {name: entry for name, entry in found.items() if name not in COMMANDS}


def entry_of(name: str) -> Entry:
    """One command. Raises UsageError, with the nearest name, where there is none."""
    if name in COMMANDS:  # without a look at other packages
        return COMMANDS[name]
    known = COMMANDS | outside()
    if name not in known:
        hint = did_you_mean(name, known) or " `ziggurat --help` lists them."
        raise UsageError(f'There is no command "{name}".{hint}')
    return known[name]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script. What the terminal's encoding cannot show is printed as "?"."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; print an error as one sentence."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()  # here, so that a closed pipe is handled below
        return code
    except ZigguratError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("Interrupted.", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # `| head` closed the pipe: there is nothing to print
        return 1
    except Exception as error:
        sentence = _no_room(error)
        if sentence is None:
            raise
        return _say(sentence, 2)


def _no_room(error: Exception) -> str | None:
    """The sentence for an error of a write that found no space; None for any other error.

    safetensors reports such an error as its own type, with the system's number in the text only.
    """
    number: int | None = None
    where = ""
    if isinstance(error, OSError):
        number, where = error.errno, f" while writing {error.filename}" if error.filename else ""
    elif type(error).__name__ == "SafetensorError" and (found := re.search(r"os error (\d+)", str(error))):
        number = int(found[1])
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full{where}; free some space and run the same command with --resume."
    if number == errno.EFBIG:
        return (
            f"A file is larger than this system allows{where}; raise the limit (ulimit -f) and use --resume."
        )
    return None


def overview() -> str:
    """What `ziggurat --help` prints."""
    more = outside()
    width = max(map(len, COMMANDS | more))
    lines = [
        "Usage: ziggurat COMMAND [ARGUMENTS]",
        "",
        "A whole ChatGPT that you own: from corpus to conversation.",
        "",
    ]
    for title, section in SECTIONS.items():
        shown = section | more if title == STAGES else section
        lines.append(f"{title}:")
        lines += [f"  {name:<{width}}  {entry.help}" for name, entry in shown.items()]
        lines.append("")
    lines += [
        "Examples:",
        "  ziggurat ladder --budget 10m     all four stages on the embedded town, then the report",
        "  ziggurat chat town/ppo           talk to the newest model of the last stage",
        "  ziggurat ppo --help              what a command takes, with examples",
        "",
        "Runs are kept in $ZIGGURAT_HOME (default ~/.ziggurat). Only `models get` fetches anything.",
    ]
    return "\n".join(lines)


def load(name: str) -> Callable[..., Any]:
    """Import one command and build its parser, a callable of `args`, `prog_name` and `standalone_mode`."""
    import typer.main

    module_name, _, attribute = entry_of(name).target.partition(":")
    try:
        target = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing.partition(".")[0] == "ziggurat":
            raise UsageError(
                f'"ziggurat {name}" is not part of this installation ({missing} is missing).'
            ) from error
        raise UsageError(
            f'"ziggurat {name}" needs the Python package "{missing}"; install that package, or install Ziggurat again.'
        ) from error
    app: typer.Typer
    if isinstance(target, typer.Typer):
        app = target
        app.callback()(_group_callback(app))  # stays a group, even one with a single command
    else:
        app = typer.Typer()
        app.command(name)(target)
    app._add_completion = False
    app.rich_markup_mode = None  # plain help, the same in a pipe
    return cast(Callable[..., Any], typer.main.get_command(app).main)


def _group_callback(app: typer.Typer) -> Callable[..., Any]:
    if app.registered_callback and app.registered_callback.callback:
        return app.registered_callback.callback

    def group() -> None:
        pass

    group.__doc__ = app.info.help if isinstance(app.info.help, str) else None
    return group


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(overview())
        return 0
    if arguments[0] in ("--version", "-V"):
        print(f"ziggurat {__version__}")
        return 0
    name = arguments[0]
    command = load(name)
    from typer import Abort, TyperException  # after load, which pays for the import

    try:
        result = command(args=list(arguments[1:]), prog_name=f"ziggurat {name}", standalone_mode=False)
    except TyperException as error:  # the parser's own: an unknown option, a missing argument
        message = error.format_message().strip()
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message)
            return 0
        raise UsageError(f"{message.rstrip('.')}; `ziggurat {name} --help` shows what it takes.") from error
    except Abort as error:  # end of input at a question
        raise KeyboardInterrupt from error
    code = result if isinstance(result, int) else 0
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _say(sentence: str, code: int) -> int:
    sys.stdout.flush()
    number = "" if writes() else f" (process {rank()})"
    print(f"Error{number}: {sentence}" if code != INTERRUPTED else f"{sentence}{number}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
