"""The daemon: keeps a directory of specs applied, sees what drifts, and answers on a socket.

It works on no unit itself. Whatever is to be done is a service of systemd's own, `nanod-apply@SPEC.service`, which has its own sandbox and outlives
the daemon; no service depends on either. So this package stays small: whatever needs YAML, D-Bus or the language is asked of a short-lived child.
"""
