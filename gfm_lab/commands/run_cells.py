"""Run a learner's cells and write down the answers. Started by gfm_lab.assignments in a process of its own.

    python -I run_cells.py JOB.json OUT.json

The job holds `cells` ([{source, exercise}]) and `wanted` ({name: None for a value, or the hidden calls of a function}).
After each cell that belongs to an exercise, and at the end, the answers are collected and OUT is written anew, so that
an endless loop further down takes nothing away. Imports nothing of the course: what the cells import is theirs.
"""

import json
import os
import sys


def plain(value, depth=0):
    """An answer as JSON can hold it: arrays, tensors and tuples as lists. Raises TypeError for other things."""
    if depth > 8:
        raise TypeError("the answer is nested too deeply")
    if hasattr(value, "detach"):
        value = value.detach()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [plain(entry, depth + 1) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a {type(value).__name__} is no answer: give numbers, texts or lists of them")


def said(fault):
    """An error as a line; one whose own text fails has its name alone."""
    try:
        return f"{type(fault).__name__}: {fault}"[:300]
    except BaseException:
        return type(fault).__name__


def collect(names, wanted):
    """{name: {"value"}, {"stub"} or {"error"}} of the answers that are defined."""
    found = {}
    for name, calls in wanted.items():
        if name not in names:
            continue
        answer = names[name]
        try:
            if answer is ... or (isinstance(answer, (list, tuple)) and any(part is ... for part in answer)):
                found[name] = {"stub": True}
            elif calls is None:
                found[name] = {"value": plain(answer)}
            else:
                got = [answer(*json.loads(json.dumps(call))) for call in calls]
                found[name] = {"stub": True} if all(g is None for g in got) else {"value": plain(got)}
            json.dumps(found[name])  # what cannot be written (an int of 5,000 digits) costs this answer alone
        except BaseException as fault:  # a learner's SystemExit as well
            found[name] = {"error": said(fault)}
    return found


def main(job, out):
    from IPython.core.interactiveshell import InteractiveShell

    with open(job, encoding="utf-8") as handle:
        work = json.load(handle)
    os.unlink(job)  # the hidden inputs are not left lying beside the learner's code
    shell = InteractiveShell.instance()
    shell.colors = "nocolor"
    found = {}
    for cell in work["cells"]:
        shell.run_cell(cell["source"], store_history=False)  # an error is printed, and the next cell runs
        if cell["exercise"] in work["wanted"]:
            name = cell["exercise"]
            found.update(collect(shell.user_ns, {name: work["wanted"][name]}))
            write(found, out)
    found.update(collect(shell.user_ns, work["wanted"]))
    write(found, out)
    os._exit(0)  # threads and exit hooks of the learner do not keep us


def write(found, out):
    with open(out + ".part", "w", encoding="utf-8") as handle:
        json.dump(found, handle)
    os.replace(out + ".part", out)


if __name__ == "__main__":
    main(*sys.argv[1:])
