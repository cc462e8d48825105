#!/usr/bin/env python3
"""Runs the tests in two tiers, with the time of each.

    scripts/tests.py                the short tier, and a share of the long one drawn by the commit
    scripts/tests.py --all          both tiers whole
    scripts/tests.py NAME...        every test of either tier with one of these texts in its name
    scripts/tests.py --list         what each tier holds, and what it costs
    scripts/tests.py --draw WORD... what each word draws
    scripts/tests.py --beside COMMAND   also runs this, while tests run; if it fails, the run fails

tests/tiers.txt says which tests are long and what each costs. Each end-to-end test, and each that is named
there, has a process of its own, several at a time, the longest first; all others run in a few shards, one
test after another in each. What computes rather than waits runs at low priority: the simulation, the
library's tests and their compilation.

    WINDLASS_DRAW=<commit>    draws what that commit drew
    WINDLASS_JOBS=<number>    end-to-end tests at a time; twice the cores where it is not set
    WINDLASS_PART=<k>/<n>     with NAME: the part of a test that is drawn in parts
"""

import argparse
import hashlib
import heapq
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIERS = ROOT / "tests/tiers.txt"
TIMES = ROOT / "target/test-times.tsv"
# The drawn share of the long tier may cost so many seconds, one after another.
SHARE = 240
# What a test costs that tiers.txt does not name: enough to begin early.
UNKNOWN = 30
# And one in a shard.
QUICK = 0.05
# A test that takes this many times its cost, and at least so many seconds, hangs.
PATIENCE, LEAST_PATIENCE = 8, 600


# These wait for an engine most of the time. All others compute, and give way to them.
WAITING = ("e2e", "contract")
NICE = ["nice", "-n", "10"]


class Entry:
    """A line of tiers.txt."""

    def __init__(self, line):
        self.group, seconds, self.test, *options = line.split()
        self.seconds = float(seconds)
        self.long = self.group != "short"
        self.parts, self.process, self.environment, self.drawn = 1, self.test, {}, True
        for option in options:
            key, value = option.split("=", 1)
            if key == "parts":
                self.parts = int(value)
            elif key == "drawn":
                self.drawn = value != "never"
            elif key == "process":
                self.process = value
            else:
                self.environment[key] = value


def tiers():
    lines = TIERS.read_text().splitlines()
    entries = [Entry(line) for line in lines if line and not line.startswith("#")]
    return {entry.test: entry for entry in entries}


class Job:
    """A test, or a part of one, as a process runs it."""

    def __init__(self, entry, part=None):
        self.entry, self.test, self.part = entry, entry.test, part
        self.seconds = entry.seconds / (entry.parts if part else 1)
        self.environment = dict(entry.environment)
        if part:
            self.environment["WINDLASS_PART"] = f"{part}/{entry.parts}"

    def __str__(self):
        return f"{self.test} {self.part}/{self.entry.parts}" if self.part else self.test


def draw(word, entries):
    """A share of the long tier: in the order that the word gives, whatever still fits."""

    def rank(text):
        return hashlib.sha256(f"{word} {text}".encode()).digest()

    jobs = []
    for entry in sorted(entries.values(), key=lambda entry: rank(entry.test)):
        if entry.long and entry.drawn:
            parts = range(1, entry.parts + 1) if entry.parts > 1 else [None]
            jobs.append(Job(entry, min(parts, key=lambda part: rank(f"{entry.test} {part}"))))
    drawn, cost = [], 0
    for job in jobs:
        if cost + job.seconds <= SHARE:
            drawn.append(job)
            cost += job.seconds
    return drawn


def word_to_draw_by():
    word = os.environ.get("WINDLASS_DRAW")
    if word:
        return word
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return head.stdout.strip() or "no commit"


def programs_of(output):
    """The programs that a build has made, by its messages: what they test, and where they are."""
    programs = []
    for line in output.splitlines():
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message.get("profile", {}).get("test"):
            target = message["target"]
            kind = "lib" if "lib" in target["kind"] else target["name"]
            programs.append(("main" if target["kind"] == ["bin"] else kind, message["executable"]))
    return programs


BUILD = ["cargo", "test", "--locked", "--no-run", "--message-format=json-render-diagnostics"]


def build():
    """Compiles what stands in tests/, and gives its programs."""
    done = subprocess.run([*BUILD, "--bins", "--test", "*"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.returncode)
    return programs_of(done.stdout)


def listed(executable, *more):
    done = subprocess.run([executable, "--list", *more], cwd=ROOT, capture_output=True, text=True, check=True)
    return [line.removesuffix(": test") for line in done.stdout.splitlines() if line.endswith(": test")]


class Step:
    """A command that runs beside the tests and has to end well. What is to run after it, `then` says."""

    computes, seconds = True, float("inf")

    def __init__(self, name, command, then=lambda output: None):
        self.jobs, self.command, self.then = [name], command, then

    def run(self, report):
        began = time.monotonic()
        done = subprocess.run(
            [*NICE, *self.command], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        good = done.returncode == 0
        report(self, self.jobs[0], time.monotonic() - began, None, good)
        if not good:
            report.failure(self, f"exit status {done.returncode}", done.stderr)
        else:
            self.then(done.stdout)


class Process:
    """Some tests that one process runs, one after another."""

    def __init__(self, program, executable, jobs):
        self.program, self.executable, self.jobs = program, executable, jobs
        self.seconds = sum(job.seconds for job in jobs)
        self.computes = program not in WAITING

    def run(self, report):
        """Runs the tests, and reports each as it ends: its seconds, its processor time, its outcome."""
        command = [*(NICE if self.computes else []), self.executable]
        command += ["--test-threads=1", "--include-ignored", "--exact"]
        command += [job.test.split("::", 1)[1] for job in self.jobs]
        environment = dict(os.environ)
        for job in self.jobs:
            environment.update(job.environment)
        began = time.monotonic()
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )
        limit = max(LEAST_PATIENCE, PATIENCE * self.seconds)
        alarm = threading.Timer(limit, child.kill)
        alarm.start()
        output, seen, last = [], {}, began
        for line in child.stdout:
            output.append(line)
            ended = re.match(r"test (\S+)(?: - should panic)? \.\.\. (?:.*\b)?(ok|FAILED)$", line.rstrip())
            if ended:
                now = time.monotonic()
                seen[ended[1]] = (now - last, ended[2] == "ok")
                last = now
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        alarm.cancel()
        hung = time.monotonic() - began >= limit
        good = child.returncode == 0
        for job in self.jobs:
            # What a test prints past the harness may stand in the line that tells how it ended.
            seconds, passed = seen.get(job.test.split("::", 1)[1], (time.monotonic() - last, good))
            # One test in a process: all of its time is the test's.
            if len(self.jobs) == 1:
                seconds, passed = time.monotonic() - began, good
            cpu = usage.ru_utime + usage.ru_stime if len(self.jobs) == 1 else None
            report(self, job, seconds, cpu, passed)
        if not good:
            why = f"ended after {limit:.0f} s, its limit" if hung else f"exit status {child.returncode}"
            report.failure(self, why, "".join(output))


class Report:
    """What is printed as tests end, and at the end of all."""

    def __init__(self):
        self.count, self.results, self.failures = 0, [], []
        self.lock, self.began = threading.Lock(), time.monotonic()

    def __call__(self, process, job, seconds, cpu, passed):
        with self.lock:
            name = str(job)
            self.results.append((seconds, cpu, passed, name))
            word = "ok" if passed else "FAILED"
            if len(process.jobs) == 1 or not passed or seconds >= 1:
                print(f"test {name} ... {word} ({seconds:.1f} s) [{len(self.results)}/{self.count}]", flush=True)

    def failure(self, process, why, output):
        with self.lock:
            names = ", ".join(str(job) for job in process.jobs) if len(process.jobs) < 9 else f"a shard of {process.program}"
            self.failures.append((f"{names} ({why})", output))
            # All of it comes at the end.
            print("\n".join(f"  | {line}" for line in output.splitlines()[-15:]), flush=True)

    def end(self):
        """Prints the failures, the slowest and the summary; whether all is well."""
        for what, output in self.failures:
            print(f"\n---- {what} ----\n{output}", flush=True)
        self.results.sort(key=lambda result: result[0], reverse=True)
        TIMES.parent.mkdir(exist_ok=True)
        with TIMES.open("w") as file:
            file.write("seconds\tprocessor\toutcome\ttest\n")
            for seconds, cpu, passed, name in self.results:
                shown = "" if cpu is None else f"{cpu:.1f}"
                file.write(f"{seconds:.3f}\t{shown}\t{'ok' if passed else 'FAILED'}\t{name}\n")
        print(f"\nthe slowest ten (all are in {TIMES.relative_to(ROOT)}):")
        for seconds, _, _, name in self.results[:10]:
            print(f"  {seconds:6.1f} s  {name}")
        failed = [name for _, _, passed, name in self.results if not passed]
        if failed:
            print("\nfailures:")
            print("".join(f"    {name}\n" for name in sorted(failed)), end="")
        good = not failed and not self.failures and len(self.results) == self.count
        took = time.monotonic() - self.began
        print(
            f"\ntest result: {'ok' if good else 'FAILED'}. {len(self.results) - len(failed)} passed; "
            f"{len(failed)} failed; 0 ignored; 0 measured; {self.count - len(self.results)} not run; "
            f"finished in {took:.2f}s"
        )
        return good


class Queue:
    """What is to run, the longest first; a process under way may add to it."""

    def __init__(self, report):
        self.report, self.waiting, self.running, self.number = report, {True: [], False: []}, 0, 0
        self.changed = threading.Condition()

    def add(self, processes):
        with self.changed:
            for process in processes:
                self.number += 1
                heapq.heappush(self.waiting[process.computes], (-process.seconds, self.number, process))
                self.report.count += len(process.jobs)
            self.changed.notify_all()

    def work(self, computes):
        waiting = self.waiting[computes]
        while True:
            with self.changed:
                self.changed.wait_for(lambda: waiting or not self.running)
                if not waiting:
                    return
                process = heapq.heappop(waiting)[2]
                self.running += 1
            try:
                process.run(self.report)
            finally:
                with self.changed:
                    self.running -= 1
                    self.changed.notify_all()

    def run(self, at_once, cores):
        """Runs all of it: those that wait so many at a time, those that compute one a core."""
        workers = [
            threading.Thread(target=self.work, args=[computes])
            for computes in [False] * at_once + [True] * cores
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


def tests_of(program, executable):
    """All of them, and those that `cargo test` leaves out."""
    return [[f"{program}::{test}" for test in listed(executable, *more)] for more in ([], ["--ignored"])]


def processes_of(program, executable, tests, chosen, entries, count):
    """The processes for the jobs chosen of the long tier, and for these tests of the short one."""
    processes, shards = {}, [[] for _ in range(count)]
    for job in chosen:
        processes.setdefault((job.entry.process, job.part), []).append(job)
    for number, test in enumerate(tests):
        if test in entries or program == "e2e":
            entry = entries.get(test) or Entry(f"short {UNKNOWN} {test}")
            processes.setdefault((entry.process, None), []).append(Job(entry))
        else:
            shards[number % count].append(Job(Entry(f"short {QUICK} {test}")))
    every = [*processes.values(), *filter(None, shards)]
    return [Process(program, executable, jobs) for jobs in every]


def show(entries):
    groups = {}
    for entry in entries.values():
        groups.setdefault(entry.group, []).append(entry)
    for group, members in groups.items():
        print(f"{group}: {len(members)} tests, {sum(entry.seconds for entry in members):.0f} s one after another")
        for entry in sorted(members, key=lambda entry: -entry.seconds):
            parts = f"  in {entry.parts} parts" if entry.parts > 1 else ""
            print(f"  {entry.seconds:6.0f} s  {entry.test}{parts}")


def choose(arguments, entries):
    """The jobs of the long tier that are to run."""
    if arguments.names:
        # Whole, or the part that WINDLASS_PART names.
        return [Job(entry) for entry in entries.values() if entry.long and named(arguments, entry.test)]
    if arguments.all:
        return [Job(entry) for entry in entries.values() if entry.long]
    word = word_to_draw_by()
    drawn = draw(word, entries)
    print(f"of the long tier, drawn by WINDLASS_DRAW={word} (make test-all runs all of it):")
    for job in drawn:
        print(f"  {job.seconds:6.0f} s  {job}", flush=True)
    return drawn


def named(arguments, test):
    return not arguments.names or any(name in test for name in arguments.names)


def plan(arguments, chosen, entries, programs, cores):
    """The processes of these programs that are to run, and the names of all their tests."""
    processes, known = [], set()
    for program, executable in programs:
        tests, ignored = tests_of(program, executable)
        known.update(tests)
        left_out = {test for test in ignored if test not in entries}
        wanted = [
            test for test in tests
            if test not in left_out and named(arguments, test) and not (test in entries and entries[test].long)
        ]
        here = [job for job in chosen if job.test in known and job.test.startswith(f"{program}::")]
        processes += processes_of(program, executable, wanted, here, entries, cores if program == "lib" else 1)
    return processes, known


def run(arguments, entries):
    """Builds, and runs what is to run. Whether all is well."""
    cores = os.cpu_count() or 2
    chosen = choose(arguments, entries)
    processes, known = plan(arguments, chosen, entries, build(), cores)
    if unknown := sorted(set(entries) - known):
        sys.exit(f"tests/tiers.txt names tests that are not there: {', '.join(unknown)}")
    report = Report()
    queue = Queue(report)

    # The library's own tests compile while those above run, and so does what is to run beside: one after
    # the other, as they share cargo's lock.
    def built(output):
        queue.add(plan(arguments, [], entries, programs_of(output), cores)[0])
        queue.add(Step(command, command.split()) for command in arguments.beside)

    queue.add([*processes, Step("the library's tests compile", [*BUILD, "--lib"], built)])
    queue.run(int(os.environ.get("WINDLASS_JOBS", 2 * cores)), cores)
    return report.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--beside", action="append", default=[], metavar="COMMAND")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--draw", nargs="+", metavar="WORD")
    arguments = parser.parse_args()
    entries = tiers()
    if arguments.list:
        return show(entries)
    if arguments.draw:
        for word in arguments.draw:
            for job in draw(word, entries):
                print(f"{word}\t{job.seconds:.0f}\t{job}")
        return None
    sys.exit(0 if run(arguments, entries) else 1)


if __name__ == "__main__":
    # Make's Ctrl-C reaches the tests as well: they end, and their worlds with them.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    main()
