#!/usr/bin/env python3
# Times headwater's default capture of a GGUF model against transformers on the same tokens.
#
# Peers: "plain" is transformers' forward (sdpa) plus the loss at every position; "eager" keeps maps
# and hidden states and computes the statistics named in worker.py from them, loss included. Ours is
# from tokens ready to the last part committed, as the program reports it: model load is apart for
# all. One peer process stays alive; runs alternate in ABBA order and only the medians of the ratios
# inside a pair mean anything: absolute times depend on the machine and on who else uses it.
# Needs torch, transformers, gguf, accelerate.
# Run: peers.py --headwater build/tools/headwater --model FILE.gguf [--lengths 1024,2048]
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
TEXTS = sorted((HERE.parent / "golden" / "text").glob("*.txt"))


class Timing:
    """Seconds of the work asked for, and how many processors the process had meanwhile."""

    def __init__(self, seconds, busy, peak_bytes):
        self.seconds, self.busy, self.peak_bytes = seconds, busy, peak_bytes


def last_number(lines, wanted, key):
    """The number under key in the last JSON line that has all of wanted."""
    for line in reversed(lines):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and key in entry and wanted.items() <= entry.items():
            return float(entry[key])
    raise SystemExit(f"expected a JSON line with {wanted} and {key}, found none")


def time_command(command, wanted, key):
    """Runs a command and reads the time that it reports on stderr."""
    start = time.monotonic()
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    lines = process.stderr.read().splitlines()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {process.returncode}: {lines[-1:]}")
    wall = time.monotonic() - start
    return Timing(
        last_number(lines, wanted, key),
        (usage.ru_utime + usage.ru_stime) / wall,
        usage.ru_maxrss * 1024,
    )


class Headwater:
    def __init__(self, options, folder, ids):
        self.folder = folder
        tokens = folder / f"tokens-{len(ids)}.txt"
        tokens.write_text(" ".join(map(str, ids)) + "\n")
        self.command = [str(options.headwater), "capture", "--model", str(options.model)]
        self.command += ["--tokens", str(tokens), "--threads", str(options.threads)]
        self.command += ["--progress", "json", "--model-hash", "none", "--overwrite"]
        self.command += ["--out", str(folder / "run.h5"), *options.extra]

    def run(self):
        return time_command(self.command, {"event": "end", "what": "capture"}, "seconds")


class Peer:
    """One live transformers process for one implementation."""

    def __init__(self, options, kind):
        environment = os.environ | {
            "OMP_NUM_THREADS": str(options.threads),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), kind, str(options.model)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment,
        )  # fmt: skip

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise SystemExit("the transformers process ended")

    def run(self, ids):
        answer = self.ask({"ids": ids})
        return Timing(answer["seconds"], answer["busy"], answer["peak_bytes"])

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def abba(a, b, n_pairs, is_warm=False):
    """[(a, b)] of n_pairs pairs run as A B, B A, A B ...; each warmed up once, or by the caller."""
    if not is_warm:
        a(), b()
    pairs = []
    for i in range(n_pairs):
        if i % 2 == 0:
            first = a()
            pairs.append((first, b()))
        else:
            second = b()
            pairs.append((a(), second))
    return pairs


def report(length, kind, pairs):
    median = statistics.median
    ratios = sorted(a.seconds / b.seconds for a, b in pairs)
    entry = {
        "tokens": length,
        "peer": kind,
        "pairs": len(pairs),
        "ratio": median(ratios),
        "ratio_low": ratios[0],
        "ratio_high": ratios[-1],
        "headwater_seconds": median(a.seconds for a, _ in pairs),
        "peer_seconds": median(b.seconds for _, b in pairs),
        "headwater_busy": median(a.busy for a, _ in pairs),
        "peer_busy": median(b.busy for _, b in pairs),
        "headwater_peak_bytes": max(a.peak_bytes for a, _ in pairs),
        "peer_peak_bytes": max(b.peak_bytes for _, b in pairs),
    }
    print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in entry.items()}))
    print(
        f"T={length}: headwater {entry['headwater_seconds']:.2f} s, {kind} "
        f"{entry['peer_seconds']:.2f} s, ratio {entry['ratio']:.3f} "
        f"[{ratios[0]:.3f}, {ratios[-1]:.3f}], processors busy {entry['headwater_busy']:.2f} and "
        f"{entry['peer_busy']:.2f}, peak {entry['headwater_peak_bytes'] / 1e6:.0f} and "
        f"{entry['peer_peak_bytes'] / 1e6:.0f} MB",
        flush=True,
    )


def cpu_flags():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.split())
            shown = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
            return " ".join(f for f in shown if f in flags)
    return "unknown"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--headwater", type=pathlib.Path, default="headwater")
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--lengths", default="1024,2048")
    parser.add_argument("--peers", default="plain,eager")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("extra", nargs="*", help="after --: more options of headwater capture")
    options = parser.parse_args()
    text = "\n\n".join(p.read_text(encoding="utf-8").rstrip("\n") for p in TEXTS)
    print("cpu:", cpu_flags(), "threads:", options.threads, "load:", os.getloadavg()[0])
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.peers.split(","):
            peer = Peer(options, kind)
            ids = peer.ask({"text": text})["ids"]
            for length in map(int, options.lengths.split(",")):
                tiled = (ids * (length // len(ids) + 1))[:length]
                ours = Headwater(options, pathlib.Path(folder), tiled)
                report(length, kind, abba(ours.run, lambda t=tiled: peer.run(t), options.pairs))
            peer.close()


if __name__ == "__main__":
    main()
