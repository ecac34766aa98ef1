#!/usr/bin/python3
"""Every public header compiles alone, as C11 and as C++17; prints TAP.

check_headers.py ROOT BUILD CC...: headers that are private to a room are left out: those named in PRIVATE, those
without a guard of their own, those "included once by each architecture" and those for one instruction set. A header that cannot compile is tried first, to show that the test can fail.
"""
import os
import re
import shutil
import subprocess
import sys

ROOMS = ["kernels", "formats", "tracer", "probes", "analysis", "tools"]
PRIVATE = re.compile(r"_(internal|table|lanes|avx2|avx512)\.h$")


def library_flags():
    """Where Debian keeps the headers of libraries whose types stand in ours."""
    done = subprocess.run(["pkg-config", "--cflags", "jansson", "hdf5-serial"], text=True, capture_output=True)
    return done.stdout.split() if done.returncode == 0 else []


def is_public(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    return not PRIVATE.search(path) and "#ifndef HW_" in text and "immintrin.h" not in text \
        and not re.search(r"included\s+(//\s+)?once\s+by\s+each", text[:600], re.IGNORECASE)


def compile_one(compiler, language, standard, flags, include):
    command = compiler + ["-x", language, f"-std={standard}", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                          "-Wno-unused-parameter", "-D_GNU_SOURCE", "-"] + flags
    done = subprocess.run(command, input=f'#include "{include}"\n', text=True, capture_output=True)
    return done.returncode == 0, done.stderr


def main():
    root, build, cc = sys.argv[1], sys.argv[2], sys.argv[3:]
    flags = library_flags() + ["-I", root, "-I", os.path.join(build, "kernels"), "-I", os.path.join(build, "tools")]
    cxx = [found for found in (shutil.which(name) for name in ("g++", "c++", "clang++")) if found]
    headers = [f"{room}/{name}" for room in ROOMS for name in sorted(os.listdir(os.path.join(root, room)))
               if name.endswith(".h") and is_public(os.path.join(root, room, name))]
    languages = [(cc, "c", "c11")] + ([(cxx[:1], "c++", "c++17")] if cxx else [])
    n, n_failed = 0, 0
    for compiler, language, standard in languages:
        n += 1
        is_found, _ = compile_one(compiler, language, standard, flags, "no/such/header.h")
        n_failed += is_found
        print(f"{'not ok' if is_found else 'ok'} {n} - a missing header is noticed as {standard}")
        for header in headers:
            n += 1
            is_good, text = compile_one(compiler, language, standard, flags, header)
            n_failed += not is_good
            print(f"{'ok' if is_good else 'not ok'} {n} - {header} as {standard}")
            for line in text.split("\n")[:6] if not is_good else []:
                print(f"# {line}")
    if not cxx:
        n += 1
        print(f"ok {n} - headers as C++17 # SKIP no C++ compiler")
    print(f"1..{n}")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())
