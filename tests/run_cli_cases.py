#!/usr/bin/python3
"""Runs the program on the command lines of a case file and compares exit code, stdout and stderr; prints TAP.

run_cli_cases.py PROGRAM CASES [NAME=VALUE...]: a case file has blocks like

    case a name
    file prompts.jsonl {"text": "hello"}      writes a file (repeated lines of one name append)
    before headwater capture ...              run first; must end with exit code 0
    python CODE                               then a line of Python with h5py, to spoil a file
    $ headwater info $MODEL                   the command line, split as a shell would, without one
    stdin text                                one line for standard input
    to /dev/full                              stdout goes there instead; `to closed-pipe`: to a reader that has left
    exit 3                                    the exit code (0 where not said)
    out text                                  stands in stdout
    out! text                                 does not stand in stdout
    outline REGEX                             one whole line of stdout
    json path.to.value = JSON                 stdout is one JSON document with this value there
    err text                                  stands in stderr
    created NAME / absent NAME                the file is there, or not, afterwards
    same NAME                                 the file has the bytes that `file` gave it

Each case runs in a folder of its own; $NAME stands for a value given on the command line, $PROGRAM for the program. A block
whose line uses a name that was not given is skipped. In every case: a failure says one line `headwater: ...` on stderr and
no line of help is wider than 80 columns. `headwater-NAME` runs the program under that name.
"""
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile

TIMEOUT_S = 240


def read_cases(path):
    cases = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            word, _, rest = line.partition(" ")
            if word == "case":
                cases.append((rest, number, []))
            else:
                cases[-1][2].append((word, rest))
    return cases


def substitute(text, names):
    missing = [name for name in re.findall(r"\$([A-Z][A-Z0-9_]*)", text) if name not in names]
    return re.sub(r"\$([A-Z][A-Z0-9_]*)", lambda m: names.get(m.group(1), m.group(0)), text), missing


def look_up(document, path):
    for part in path.split("."):
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def check(word, rest, run, folder, files):
    """Returns what is wrong with one expectation, or None."""
    if word == "out" and rest not in run.stdout:
        return f"stdout lacks {rest!r}: {run.stdout[:400]!r}"
    if word == "out!" and rest in run.stdout:
        return f"stdout has {rest!r}"
    if word == "outline" and not any(re.fullmatch(rest, line) for line in run.stdout.split("\n")):
        return f"no line of stdout is {rest!r}: {run.stdout[:400]!r}"
    if word == "err" and rest not in run.stderr:
        return f"stderr lacks {rest!r}: {run.stderr[:400]!r}"
    if word == "json":
        path, _, value = rest.partition(" = ")
        try:
            found = look_up(json.loads(run.stdout), path)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            return f"json {path}: {error!r} in {run.stdout[:200]!r}"
        if found != json.loads(value):
            return f"json {path}: expected {value}, found {found!r}"
    if word == "created" and not os.path.exists(os.path.join(folder, rest)):
        return f"{rest} was not created"
    if word == "absent" and os.path.exists(os.path.join(folder, rest)):
        return f"{rest} is there"
    if word == "same":
        with open(os.path.join(folder, rest), encoding="utf-8") as file:
            if file.read() != files[rest]:
                return f"{rest} was changed"
    return None


def open_stdout(to):
    if to == "closed-pipe":
        reader, writer = os.pipe()
        os.close(reader)
        return os.fdopen(writer, "w")
    return open(to, "w", encoding="utf-8") if to else tempfile.TemporaryFile("w+")


def run_case(steps, names, folder):
    """Runs one block; returns a list of what is wrong."""
    files, stdin, to, exit_code, words = {}, "", None, 0, None
    for word, rest in steps:
        if word == "file":
            name, _, content = rest.partition(" ")
            files[name] = files.get(name, "") + content + "\n"
        elif word == "$":
            words = shlex.split(rest)
        elif word == "stdin":
            stdin += rest + "\n"
        elif word == "to":
            to = rest
        elif word == "exit":
            exit_code = int(rest)
    for name, content in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write(content)
    program = names["PROGRAM"]
    for word, rest in steps:
        if word == "before":
            first = subprocess.run([program] + shlex.split(rest)[1:], cwd=folder, capture_output=True, text=True,
                                   timeout=TIMEOUT_S, errors="replace")
            if first.returncode != 0:
                return [f"before: {rest}: exit code {first.returncode}: {first.stderr[:400]!r}"]
        if word == "python":
            first = subprocess.run([sys.executable, "-c", "import h5py; " + rest], cwd=folder, capture_output=True, text=True)
            if first.returncode != 0:
                return [f"python: {rest}: {first.stderr[-400:]!r}"]
    if words[0] != "headwater":
        link = os.path.join(folder, words[0])
        os.symlink(program, link)
        program = link
    with open_stdout(to) as out:
        done = subprocess.run([program] + words[1:], cwd=folder, input=stdin, stdout=out, stderr=subprocess.PIPE,
                              text=True, timeout=TIMEOUT_S, errors="replace")
        if not to:
            out.seek(0)
        done.stdout = "" if to else out.read()
    wrong = []
    if to == "closed-pipe" and done.stderr:
        wrong.append(f"a reader that leaves is no error to talk about: {done.stderr[:200]!r}")
    if done.returncode != exit_code:
        wrong.append(f"exit code {done.returncode} instead of {exit_code}: {done.stderr[:400]!r}")
    errors = [line for line in done.stderr.split("\n") if line]
    if exit_code in (2, 3, 4, 5) and (len(errors) != 1 or not errors[0].startswith("headwater: ")):
        wrong.append(f"a failure must say one line `headwater: ...`, found {errors!r}")
    if "usage: headwater" in done.stdout and max(len(line) for line in done.stdout.split("\n")) > 80:
        wrong.append("help is wider than 80 columns")
    wrong += [one for word, rest in steps for one in [check(word, rest, done, folder, files)] if one]
    return wrong


def main():
    names = {"PROGRAM": os.path.abspath(sys.argv[1])}
    names.update(word.split("=", 1) for word in sys.argv[3:])
    cases = read_cases(sys.argv[2])
    n_failed = 0
    for number, (title, line, steps) in enumerate(cases, 1):
        missing = []
        done = []
        for word, rest in steps:
            text, unknown = substitute(rest, names)
            missing += unknown
            done.append((word, text))
        if missing:
            print(f"ok {number} - {title} # SKIP no {' '.join(sorted(set(missing)))}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            wrong = run_case(done, names, folder)
        n_failed += bool(wrong)
        print(f"{'not ok' if wrong else 'ok'} {number} - {title}")
        for one in wrong:
            print(f"# line {line}: {one}")
    print(f"1..{len(cases)}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
