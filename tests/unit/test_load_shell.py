"""Where `exec` goes: told by what a real sh does."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanod.spec.shell import Shape, with_exec

SIMPLE = {
    "node server.js": "exec node server.js",
    "  node server.js  ": "  exec node server.js  ",
    "A=1 B='x y' node s": "A=1 B='x y' exec node s",
    "node x > log 2>&1": "exec node x > log 2>&1",
    "node x # not; this": "exec node x # not; this",
    'node "$(cat a; b)"': 'exec node "$(cat a; b)"',
    "node 'a;b' ;": "exec node 'a;b' ;",
    "node \\\n  --flag\n": "exec node \\\n  --flag\n",
    "node $((1+2)) `x;y` ${A:-b;c}": "exec node $((1+2)) `x;y` ${A:-b;c}",
    '"my node" x': 'exec "my node" x',
    "$NODE server.js": "exec $NODE server.js",
    "node \"it's; fine\"": "exec node \"it's; fine\"",
    "\n# a comment; first\nnode x\n": None,
}  # fmt: skip
EXEC = [
    "exec node",
    "A=1 exec node",
    "cd /srv && exec node",
    "set -e\nmigrate\nexec node x\n",
    "if x; then exec a; else exec b; fi",
    "case $A in x) exec foo;; *) exec bar;; esac",
    "test -f x || exec node",
]
COMPOUND = [
    "cd /srv; node x",
    "a && b",
    "a | b",
    "a | exec b",
    "(exec a)",
    "{ a; b; }",
    "node x &",
    "exec node &",
    "cd /srv",
    "export A=1",
    "A=1",
    "",
    "while :; do x; done",
    "! node",
    "cat <<EOF\nx\nEOF\n",
    "exec",
    "a\nb",
]


@pytest.mark.parametrize(("text", "wanted"), SIMPLE.items())
def test_a_simple_command_gets_exec(text: str, wanted: str | None) -> None:
    made, shape = with_exec(text)
    assert shape is Shape.SIMPLE
    assert made == (wanted or text.replace("node", "exec node"))


@pytest.mark.parametrize("text", EXEC)
def test_one_that_ends_in_exec_stays(text: str) -> None:
    assert with_exec(text) == (text, Shape.EXEC)


@pytest.mark.parametrize("text", COMPOUND)
def test_a_compound_one_stays_and_is_said_to_be_one(text: str) -> None:
    assert with_exec(text) == (text, Shape.COMPOUND) if text != "exec" else with_exec(text)[0] == "exec"


SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "text",
    [
        "sh -c 'echo $PPID'",
        "A=1 sh -c 'test \"$A\" = 1 && echo $PPID'",
        'A=1 B="$(echo 2; :)" sh -c \'test "$B" = 2 && echo $PPID\'',
        ">/dev/stdout sh -c 'echo $PPID' # comment",
        "sh -c 'echo $PPID' ;",
        "sh \\\n -c 'echo $PPID'",
    ],
)
def test_the_command_takes_the_place_of_the_shell(shell: str, text: str) -> None:
    """Its parent is then ours, and not the shell."""
    made, shape = with_exec(text)
    assert shape is Shape.SIMPLE
    argv = [shell, "sh", "-ec", made] if shell == "busybox" else [shell, "-ec", made]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    out, _ = child.communicate(timeout=10)
    assert child.returncode == 0
    assert int(out) != child.pid, "the command's parent is the shell"


PIECES = st.lists(
    st.sampled_from(
        ["a", "b c", "$(", ")", "(", "'", '"', "`", "\\", "\n", ";", "&", "|", "<", ">", "#", "{", "}", "${", "exec ", "if ", "fi", "A=1 "]
    ),
    max_size=15,
).map("".join)


@given(st.text() | PIECES)
def test_nothing_raises_and_only_exec_is_added(text: str) -> None:
    made, shape = with_exec(text)
    assert (made == text) == (shape is not Shape.SIMPLE)
    assert made == text or any(made[:place] + made[place + 5 :] == text for place in range(len(made)) if made.startswith("exec ", place))


@given(PIECES)
def test_what_is_simple_to_us_is_a_syntax_that_sh_reads_the_same(text: str) -> None:
    """With `exec` in front, sh accepts exactly what it accepted without."""
    made, shape = with_exec(text)
    if shape is Shape.SIMPLE:
        before, after = (subprocess.run(["dash", "-n", "-c", one], capture_output=True, check=False).returncode for one in (text, made))
        assert before == after
