"""PID 1 of our containers: a loop in the POSIX shell, and what root does beside it when we stop one.

Why not `--init` or bash: users' programs are started by exec, `docker stop` reaches PID 1 only, and when PID 1 ends the
kernel kills everything else without warning. This one is a single process in `docker top` (AIME's idle test), reaps
orphans (`jobs` makes dash and ash wait for every dead child, and bash does so by itself), and on TERM passes the
signal on (with CONT, or a program that was stopped by Ctrl-Z would never see it), waits until only shells are left,
hangs those up, and exits with 143.
"""

from collections.abc import Sequence

STOP_EXIT_STATUS = 143
# what waits for a person, and what only waits for one of these
_SHELLS = "sh|ash|dash|bash|zsh|fish|ksh*|csh|tcsh|tmux*|screen|su|sudo|login"
_EMPTY_READS = 100
# PID 1 and root's loop both sleep between looks. Each must know the other's sleep, or each would wait for the other's
# for ever; a user's `sleep` in a script that saves its work must be waited for. So ours has an argument of its own.
_PAUSE = "0.1001"
# A shell script that saves its work on TERM is alone between two of its programs: it is only hung up as idle when
# several looks in a row have found nothing but shells.
_LOOKS = 2
_ROUNDS = 36000  # of a tenth of a second: the engine's SIGKILL comes long before


# The PID 1 of another version may sleep for another time, and waits for root's sleep: root's loop must not wait for it.
_IS_SLEEP_OF_PID_1 = '[ "$c" = sleep ] && read -r _ _ _ t _ <"$p/stat" && [ "$t" = 1 ]'


def _wait_for_shells(*, skip: str, done: str, also_skip: str = "") -> str:
    """Return shell text that waits until no program is left, hanging up the shells when only they are.

    Args:
        skip: Test on `$q`, a pid, that is true for processes that do not count.
        done: Command that ends the wait.
        also_skip: The same as a command, of a process whose folder is `$p` and whose name is `$c`; empty: none.
    """
    also = f"{also_skip} && continue; " if also_skip else ""
    scan = (
        "w=; s=; for p in /proc/[0-9]*; do q=${p#/proc/}; "
        f"{skip} && continue; "
        'read -r c <"$p/comm" || continue; '
        # the arguments stand there with NULs between, which `read` drops in every shell
        f'a=; [ "$c" = sleep ] && read -r a <"$p/cmdline"; [ "$a" = sleep{_PAUSE} ] && continue; '
        f"{also}"
        f'case $c in {_SHELLS}) s="$s $q";; *) w=1;; esac; '
        "done 2>/dev/null"
    )
    return (
        f"n=0; i=0; while [ $n -lt {_ROUNDS} ]; do {scan}; "
        f'[ -z "$w$s" ] && {done}; '
        f'if [ -n "$w" ]; then i=0; else i=$((i+1)); [ $i -gt {_LOOKS} ] && kill -HUP $s 2>/dev/null; fi; '
        f"sleep {_PAUSE}; n=$((n+1)); done"
    )


# Every version begins so, and has to: containers outlive the version that made them, and are known by it.
_BEGINNING = "stop() { trap '' TERM; kill -TERM -1 "
_STOP = (
    f"{_BEGINNING}2>/dev/null; kill -CONT -1 2>/dev/null; "
    + _wait_for_shells(skip='[ "$q" = 1 ]', done=f"exit {STOP_EXIT_STATUS}")
    + f"; exit {STOP_EXIT_STATUS}; }}"
)
# Whoever is attached to its console may type Ctrl-C: a shell that gets INT ends itself, and with it all programs.
# A stdin at its end makes `read` return at once, for ever: then a child sleeps, briefly, for TERM waits for its end. A
# dead orphan makes `read` return too, so it starts the count anew: in normal life there is never a second process.
# Orphans die together, and one that dies between the trap and the next `read` would wake nobody: after each trap a
# child sleeps for a moment, whose own end makes the shell look again.
SCRIPT = (
    f"{_STOP}; trap stop TERM; trap '' INT; c=0; e=0; trap 'c=1; e=0; jobs >/dev/null 2>&1' CHLD; "
    f"while :; do if [ $c = 1 ]; then sleep {_PAUSE}; c=0; fi; "
    f"if read -r _; then e=0; else e=$((e+1)); fi; "
    f"if [ $e -ge {_EMPTY_READS} ]; then e=0; sleep 0.2; fi; done"
)
ENTRYPOINT = ("sh", "-c", SCRIPT)
"""PID 1. Needs a terminal and an open stdin: `read` is where it sleeps."""


def is_idle_loop(command: str) -> bool:
    """Tell whether a process is this PID 1, of this version or another: nobody started it, and nothing is lost with it.

    Args:
        command: Its words, joined.
    """
    return _BEGINNING in command


def is_our_entrypoint(entrypoint: Sequence[str]) -> bool:
    """Tell whether a container's main process is this PID 1, of this version or another."""
    *shell, script = entrypoint or ("",)
    return shell == [*ENTRYPOINT[:2]] and script.startswith(_BEGINNING)


def signal_others(uid: int) -> str:
    """Return what root runs when we stop a container: PID 1 runs as its user and may not signal what others run.

    The user's own programs are left to PID 1: many take a second TERM as "now", and would not save their work.

    Args:
        uid: User that PID 1 runs as.
    """
    others = (
        "for p in /proc/[0-9]*; do q=${p#/proc/}; "
        '{ [ "$q" = 1 ] || [ "$q" = $$ ]; } && continue; '
        'u=; while read -r k v _; do [ "$k" = Uid: ] && u=$v && break; done <"$p/status"; '
        f'[ -n "$u" ] && [ "$u" != {uid} ] && kill -TERM "$q" && kill -CONT "$q"; done 2>/dev/null; '
    )
    return others + _wait_for_shells(
        skip='{ [ "$q" = 1 ] || [ "$q" = $$ ]; }', done="exit 0", also_skip=_IS_SLEEP_OF_PID_1
    )
