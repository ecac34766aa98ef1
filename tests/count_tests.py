#!/usr/bin/python3
"""Adds up meson's log of a test run: count_tests.py testlog.json [--require-smollm2].

One line per test that failed or skipped something, then `N passed, N failed, N skipped`. Inside a test the single checks are counted:
Check's `Checks: N, Failures: N, Errors: N`, lines of TAP, and lines `skipped: why` of a test that goes on without something.
Exit 1 where anything failed or nothing passed.
"""
import json
import re
import sys

CHECK = re.compile(r"Checks: (\d+), Failures: (\d+), Errors: (\d+)")
SKIP_LINE = re.compile(r"^(?:skipped|SKIP|skip): *(.*)$", re.MULTILINE)


def count(test):
    """Returns passed, failed, reasons of skips."""
    text = test.get("stdout", "") + "\n" + test.get("stderr", "")
    result = test["result"]
    passed = failed = 0
    skips = SKIP_LINE.findall(text)
    for n, failures, errors in CHECK.findall(text):
        failed += int(failures) + int(errors)
        passed += int(n) - int(failures) - int(errors)
    for line in test.get("stdout", "").split("\n"):
        if re.match(r"(ok|not ok)\b", line):
            if "# SKIP" in line:
                skips.append(line.split("# SKIP", 1)[1].strip() + ": " + line.split(" - ", 1)[-1].split("# SKIP")[0].strip())
            elif line.startswith("ok"):
                passed += 1
            else:
                failed += 1
    if result == "SKIP":
        return 0, 0, skips or ["no reason given"]
    if result in ("OK", "EXPECTEDFAIL"):
        return max(passed, 0 if skips else 1), failed, skips
    return passed, max(failed, 1), skips


def main():
    passed = failed = skipped = smollm2 = 0
    with open(sys.argv[1], encoding="utf-8") as file:
        for line in file:
            test = json.loads(line)
            one = count(test)
            passed, failed, skipped = passed + one[0], failed + one[1], skipped + len(one[2])
            for why in one[2]:
                print(f"skipped in {test['name']}: {why}")
                smollm2 += "smollm2" in (test["name"] + why).lower()
            if one[1]:
                print(f"failed: {test['name']} ({one[1]} of {one[0] + one[1]})")
    if "--require-smollm2" in sys.argv and smollm2:
        print(f"{smollm2} tests on SmolLM2 were skipped although they are required")
        failed += smollm2
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
