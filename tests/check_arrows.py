#!/usr/bin/python3
"""The rules of the house that a script can see; prints TAP, one line a file.

Arrows: tools -> analysis -> probes -> tracer -> formats -> kernels; a file includes from its own room or from what stands to the
right. Besides: length of files and functions, number of parameters, calls that are not used, words that promise later work,
printing, exiting and the environment outside tools, HDF5 outside formats, names that occur twice.

`check_arrows.py ROOT` checks a tree; `check_arrows.py --self-test` proves on small texts that every rule can fail.
"""
import os
import re
import sys

ROOMS = ["kernels", "formats", "tracer", "probes", "analysis", "tools"]
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60
MAX_PARAMETERS = 7
BANNED = re.compile(r"\b(atoi|atol|atoll|atof|strtok|sprintf|vsprintf|strcpy|strcat|gets)\s*\(")
PRINTS = re.compile(r"\b(printf|puts|putchar|perror|exit|abort)\s*\(|\bfprintf\s*\(\s*std(err|out)\b")
PROMISES = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|\bfor now\b", re.IGNORECASE)
# The environment is read by tools, so that a library does what its arguments say; a test may look for its temporary folder.
ENVIRONMENT = re.compile(r"\b(secure_)?getenv\s*\(|\benviron\b")
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
# A function begins at the left edge with its type and ends with a brace at the left edge.
FUNCTION = re.compile(r"^[A-Za-z_][\w\s\*]*?\b(\w+)\((.*)$", re.DOTALL)
NOT_FUNCTION = re.compile(r"^(struct|enum|union)\s+\w+\s*\{|^(typedef|extern|return|else|do|switch|if|for|while)\b")


def strip_comments(text):
    """Blanks comments and the inside of strings, keeping line breaks."""
    def blank(match):
        word = match.group(0)
        if word.startswith(("/", "'")):
            return re.sub(r"[^\n]", " ", word)
        return '"' + re.sub(r"[^\n]", " ", word[1:-1]) + '"'
    return re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", blank, text, flags=re.DOTALL)


def parameters(after_parenthesis):
    """Number of inputs of a signature, given the text behind its opening parenthesis: `ret_` outputs and `err` are not counted."""
    depth, words = 1, [""]
    for c in after_parenthesis:
        depth += {"(": 1, ")": -1}.get(c, 0)
        if depth == 0:
            break
        if c == "," and depth == 1:
            words.append("")
        else:
            words[-1] += c
    return sum(bool(word.strip()) and not re.search(r"\b(ret_\w+|err)(\[\w*\])?\s*$", word) for word in words)


def functions(code):
    """Yields name, first line, lines, parameters of each function definition."""
    lines = code.split("\n")
    i = 0
    while i < len(lines):
        line = lines[i]
        if not line or line[0].isspace() or line[0] in "#}{/" or NOT_FUNCTION.match(line):
            i += 1
            continue
        end = i
        while end < len(lines) and end < i + 15 and not re.search(r"[{;]\s*\\?$", lines[end]):
            end += 1
        head = "\n".join(lines[i:end + 1])
        match = FUNCTION.match(head)
        if match and head.rstrip().endswith("{") and "=" not in head.split("(")[0]:
            last = end
            while last < len(lines) and not lines[last].startswith("}"):
                last += 1
            yield match.group(1), i + 1, last - i + 1, parameters(match.group(2))
            i = last
        i = max(i, end) + 1


def check_includes(room, text):
    for number, line in enumerate(text.split("\n"), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = match.group(2)
        other = target.split("/")[0]
        if match.group(1) == '"' and other in ROOMS and room in ROOMS and "/" in target:
            if ROOMS.index(other) > ROOMS.index(room):
                yield f"line {number}: {room} includes {target}, which stands to its left"
        if match.group(1) == '"' and other == "tests" and room in ROOMS:
            yield f"line {number}: {room} includes {target}"
        if target.startswith("hdf5") and room != "tests" and room != "formats":
            yield f"line {number}: HDF5 is included outside formats"


def check_text(room, name, text):
    """Yields what is wrong with one source file."""
    n_lines = text.count("\n")
    if n_lines > MAX_FILE_LINES:
        yield f"{n_lines} lines (at most {MAX_FILE_LINES})"
    yield from check_includes(room, text)
    for number, line in enumerate(text.split("\n"), 1):
        if PROMISES.search(line):
            yield f"line {number}: promises later work: {line.strip()[:60]}"
    if not name.endswith((".c", ".h", ".cu")):
        return
    if not text.startswith("//"):
        yield "does not begin with a comment that says what it is"
    code = strip_comments(text)
    for number, line in enumerate(code.split("\n"), 1):
        match = BANNED.search(line)
        if match:
            yield f"line {number}: {match.group(1)} is not used here"
        if room in ROOMS and room != "tools" and PRINTS.search(line):
            yield f"line {number}: only tools print or exit: {line.strip()[:60]}"
        if room in ROOMS and room != "tools" and ENVIRONMENT.search(line):
            yield f"line {number}: only tools read the environment: {line.strip()[:60]}"
    for function, number, lines, n in functions(code):
        if lines > MAX_FUNCTION_LINES:
            yield f"line {number}: {function} has {lines} lines (at most {MAX_FUNCTION_LINES})"
        if n > MAX_PARAMETERS and room != "kernels":  # kernels count raw pointers and sizes one by one, as ops.h does
            yield f"line {number}: {function} has {n} parameters (at most {MAX_PARAMETERS})"


def self_test():
    cases = [
        ("kernels", "a.c", '// a\n#include "formats/gguf.h"\n', "stands to its left"),
        ("formats", "a.c", '// a\n#include "kernels/ops.h"\n', None),
        ("tracer", "a.c", "// a\n#include <hdf5.h>\n", "HDF5"),
        ("formats", "a.c", "// a\n" + "\n" * MAX_FILE_LINES, "501 lines"),
        ("formats", "a.c", "int x;\n", "does not begin"),
        ("formats", "a.c", "// a\nint f(void) {\n    return atoi(s);\n}\n", "atoi"),
        ("formats", "a.c", "// a\n// atoi(s) is not used\nconst char *s = \"atoi(\";\n", None),
        ("formats", "a.c", "// a\nint f(void) {\n    printf(s);\n}\n", "only tools print"),
        ("tools", "a.c", "// a\nint f(void) {\n    printf(s);\n}\n", None),
        ("formats", "a.c", "// a\nint f(void) {\n    return getenv(s) != NULL;\n}\n", "only tools read the environment"),
        ("formats", "a.c", "// a\nint f(void) {\n    return secure_getenv (s) != NULL;\n}\n", "only tools read the environment"),
        ("kernels", "a.c", "// a\nextern char **environ;\n", "only tools read the environment"),
        ("tools", "a.c", "// a\nint f(void) {\n    return getenv(s) != NULL;\n}\n", None),
        ("formats", "a.c", "// a\nint f(void) {\n    return forgetenv(s); // no getenv(s)\n}\n", None),
        ("formats", "a.c", "// a\n// TO" + "DO: more\n", "promises"),
        ("formats", "a.c", "// a\nint f(void) {\n" + "    g();\n" * 59 + "}\n", "61 lines"),
        ("formats", "a.c", "// a\nint f(void) {\n" + "    g();\n" * 58 + "}\n", None),
        ("formats", "a.c", "// a\nint f(int a, int b, int c, int d,\n      int e, int f, int g, int h) {\n}\n", "8 parameters"),
        ("formats", "a.c", "// a\nint f(int a, int b, int c, int d, int e, int f, int g, int *ret_h, struct e *err) {\n}\n", None),
        ("formats", "a.c", "// a\nint f(int a, int (*b)(int, int), int c, int d, int e, int f, int g) {\n}\n", None),
        ("formats", "a.c", "// a\nstatic const struct x y[] = {\n" + "    {1, 2},\n" * 70 + "};\n", None),
    ]
    n_failed = 0
    for number, (room, name, text, expected) in enumerate(cases, 1):
        found = list(check_text(room, name, text))
        good = not found if expected is None else any(expected in one for one in found)
        n_failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - rule: {expected or 'clean'}{'' if good else ' found ' + str(found)}")
    print(f"1..{len(cases)}")
    return n_failed


def files_of(root):
    for room in ROOMS + ["tests"]:
        for folder, folders, names in os.walk(os.path.join(root, room)):
            folders[:] = sorted(f for f in folders if f not in ("golden", "__pycache__"))
            for name in sorted(names):
                if name.endswith((".c", ".h", ".cu", ".py", ".sh", ".in")) or name == "meson.build":
                    yield room, os.path.relpath(os.path.join(folder, name), root)


def main():
    if sys.argv[1] == "--self-test":
        return 1 if self_test() else 0
    root = sys.argv[1]
    n, n_failed, seen = 0, 0, {}
    for room, path in files_of(root):
        name = os.path.basename(path)
        n += 1
        if path == os.path.join("tests", "check_arrows.py"):
            found = []
        else:
            with open(os.path.join(root, path), encoding="utf-8") as file:
                found = list(check_text(room, name, file.read()))
        if name != "meson.build" and name in seen:
            found.append(f"its name occurs twice: {seen[name]}")
        seen[name] = path
        n_failed += bool(found)
        print(f"{'not ok' if found else 'ok'} {n} - {path}")
        for one in found:
            print(f"# {path}: {one}")
    print(f"1..{n}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
