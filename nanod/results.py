"""Exit statuses of systemd's own, in words."""

from __future__ import annotations

SETUP = {
    200: "its working directory cannot be entered",
    205: "its resource limits cannot be set",
    208: "its standard input cannot be set up",
    209: "its standard output cannot be set up",
    214: "its scheduling cannot be set up",
    216: "its group does not exist",
    217: "its user does not exist",
    218: "its capabilities cannot be set",
    219: "its control group cannot be set up",
    226: "its sandbox cannot be set up",
    228: "its system call filter cannot be set up",
    233: "its runtime directory cannot be made",
    238: "its state directory cannot be made",
    239: "its cache directory cannot be made",
    243: "its credentials cannot be read",
}
"""Exit statuses with which systemd ends a child that it could not prepare (systemd.exec(5), "Process Exit Codes")."""
STEPS = {"CHDIR": 200, "GROUP": 216, "USER": 217, "NAMESPACE": 226, "RUNTIME_DIRECTORY": 233, "STATE_DIRECTORY": 238, "CREDENTIALS": 243}
"""Of the step that systemd names in its message, the same."""
