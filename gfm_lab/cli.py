"""The command `gfm-lab`: pretrain, finetune, embed, score and generate from the shell; doctor checks the machine.

Here a command is chosen and its errors are told; `gfm_lab.commands.arguments` has the options, `gfm_lab.commands` the
work, imported only when it runs. Introduced in notebook 09.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Sequence

from gfm_lab.commands.arguments import parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run `gfm-lab` with the given arguments (default: those of the command line); returns the exit code.

    0: done. 1: it failed. 2: what was asked for or given in is at fault. 130: Ctrl-C.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(argv)
    if args.command == "doctor":
        from gfm_lab.doctor import doctor

        return doctor()
    try:
        job = importlib.import_module(f"gfm_lab.commands.{args.command}")
        getattr(job, args.command)(args)
    except KeyboardInterrupt as stop:
        what = str(stop).split(". To go on")[0] or "stopped"
        print(f"\ngfm-lab {args.command}: {what}. {_how_to_go_on(args, argv)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as fault:
        if args.debug:
            raise
        print(f"gfm-lab {args.command}: {_sentence(fault)}", file=sys.stderr)
        return 2 if _is_input(fault) else 1
    return 0


_OPTIONS = {
    "pass resume=True": "add --resume",
    "call again with the same arguments and resume=True": "run the same command with --resume",
    "resume=True": "--resume",
    "allow_shared=True": "--allow-shared",
    "precision='float32'": "--precision float32",
    "a lower learning_rate": "a lower --learning-rate",
}


def _how_to_go_on(args: argparse.Namespace, argv: Sequence[str]) -> str:
    if args.command == "pretrain":
        again = shlex.join(["gfm-lab", *argv, *([] if args.resume else ["--resume"])])
        return f"Go on with: {again}"
    return "No output was written." if args.command != "finetune" else "Start it again with a new --output."


def _sentence(fault: BaseException) -> str:
    """An error in one line. Ours are sentences already; of others the kind is told too."""
    text = " ".join(str(fault).split())
    for argument, option in _OPTIONS.items():  # the package speaks of its functions' arguments
        text = text.replace(argument, option)
    if isinstance(fault, OSError) and fault.strerror:
        text = f"{fault.strerror}: {fault.filename}" if fault.filename else fault.strerror
    if not _is_input(fault) and not isinstance(fault, OSError | RuntimeError | ArithmeticError):
        text = f"{type(fault).__name__}: {text} (--debug shows where)"
    return text or type(fault).__name__


def _is_input(fault: BaseException) -> bool:
    """Whether what was given is at fault: a file, a value, a device that is not there."""
    from gfm_lab.data import DataError
    from gfm_lab.device import DeviceError

    checkpoints = sys.modules.get("gfm_lab.checkpoints")  # not imported for its own sake: it needs torch
    if isinstance(fault, getattr(checkpoints, "CheckpointError", ())):
        return True
    return isinstance(
        fault,
        ValueError
        | DataError
        | DeviceError
        | FileNotFoundError
        | FileExistsError
        | IsADirectoryError
        | NotADirectoryError
        | PermissionError,
    )


if __name__ == "__main__":
    sys.exit(main())
