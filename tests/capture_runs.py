"""What the tests of interrupted captures share: prompts, runs, the state that a run left, TAP."""
import json
import os
import random
import re
import signal
import subprocess
import threading

N_PROMPTS = 24
COMMIT_EVERY = 4
TIMEOUT_S = 120
# Processes that compute beside each other must not spin.
ENVIRONMENT = dict(os.environ, OMP_WAIT_POLICY="passive")

n_tests = 0
n_failed = 0
lock = threading.Lock()


def check(claim, problems):
    """One line of TAP; problems is a list of what is wrong, or a bool that says whether the claim holds."""
    global n_tests, n_failed
    if isinstance(problems, bool):
        problems = [] if problems else ["does not hold"]
    with lock:
        n_tests += 1
        n_failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {n_tests} - {claim}")
        for problem in problems[:8]:
            print("# " + str(problem).strip().replace("\n", "\n# "))


def skip(claim, reason):
    global n_tests
    with lock:
        n_tests += 1
        print(f"ok {n_tests} - {claim} # SKIP {reason}")


def finish():
    """The plan, and the exit code."""
    print(f"1..{n_tests}")
    return 1 if n_failed else 0


def write_prompts(path, n=N_PROMPTS, longest=48, seed=1):
    """Prompts of the embedded model's letters, of many lengths."""
    source = random.Random(seed)
    with open(path, "w", encoding="ascii") as file:
        for i in range(n):
            length = 1 + (i * 11 + 7) % longest
            text = "".join(source.choice("abcdefghijklmnopqrstuvwxyz ") for _ in range(length))
            file.write(json.dumps({"name": f"p{i}", "text": text, "kind": i % 3}) + "\n")


class Runs:
    """Captures of one model and prompt file by one program."""

    def __init__(self, program, trace_equal, model, prompts, options=()):
        self.program = program
        self.trace_equal = trace_equal
        self.model = model
        self.prompts = prompts
        self.options = list(options)

    def command(self, out, *more):
        return [self.program, "capture", "--quiet", "--threads", "1", "--commit-every", str(COMMIT_EVERY),
                "--model", self.model, "--prompts", self.prompts, *self.options, "--out", out, *more]

    def start(self, out, *more, **keywords):
        return subprocess.Popen(self.command(out, *more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                env=ENVIRONMENT, **keywords)

    def run(self, out, *more, **keywords):
        """Runs to its end: the exit code (minus the signal that killed it) and stderr."""
        return self.run_command(self.command(out, *more), **keywords)

    @staticmethod
    def run_command(command, **keywords):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=ENVIRONMENT, timeout=TIMEOUT_S, check=False, **keywords)
        return done.returncode, done.stderr

    def differs(self, a, b):
        """What differs between two captures, as a list of problems."""
        code, text = self.run_command([self.trace_equal, a, b])
        return [] if code == 0 else [f"{a}: {text.strip()}"]


def parts(out):
    """The parts in the folder of a run: (first, last, name)."""
    found = []
    folder = out + ".parts"
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        match = re.fullmatch(r"part-([0-9]+)-([0-9]+)\.h5", name)
        if match:
            found.append((int(match.group(1)), int(match.group(2)), name))
    return sorted(found)


PHASES = ["before the first commit", "between commits", "in the merge", "around the last rename", "after"]


def phase(out, n_prompts=N_PROMPTS):
    """Where a run was when it was killed, told from what it left."""
    has_folder = os.path.isdir(out + ".parts")
    if os.path.exists(out):
        return PHASES[3] if has_folder else PHASES[4]
    n_done = sum(last - first + 1 for first, last, _ in parts(out))
    return PHASES[0] if n_done == 0 else PHASES[1] if n_done < n_prompts else PHASES[2]


def leftovers(out):
    """What lies beside a finished capture and belongs to it, but for files of processes that still live."""
    folder, name = os.path.split(out)
    problems = []
    for entry in os.listdir(folder):
        match = re.fullmatch(r"\.([0-9]+)\.[A-Za-z0-9_.-]+\.tmp", entry[len(name):])
        # A process number may have been given away again; its file stays then.
        if entry.startswith(name + ".") and not (match and os.path.exists(f"/proc/{match.group(1)}")):
            problems.append(f"{entry} was left")
    return problems


def wait_stopped(process):
    """Waits until a process has stopped itself (--fault POINT:N:stop)."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        process.returncode = os.waitstatus_to_exitcode(status)
        raise AssertionError(f"ended with {process.returncode} instead of stopping: {process.stderr.read()}")


def go_on(process, number=None):
    """Lets a stopped process go on, with a signal waiting for it; returns its exit code and stderr."""
    if number is not None:
        os.kill(process.pid, number)
    os.kill(process.pid, signal.SIGCONT)
    _, text = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, text
