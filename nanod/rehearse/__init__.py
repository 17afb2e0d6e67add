r"""Machines to throw away: a real systemd as PID 1 in namespaces, over overlays of this machine's root.

It needs root and systemd-nspawn, and neither a running systemd nor an image.

    from nanod.rehearse.machine import Machine

    with Machine.boot() as machine:                       # half a second; `tree=`: over another root
        machine.path("/etc/systemd/system/a.service").write_text("[Service]\nExecStart=sleep 99\n")
        machine.run(["systemctl", "start", "a"])          # -> Completed(status, out, err); `input=, env=, cwd=, user=, timeout=`
        machine.run(["nanod", "status"])                  # this very code, on this very interpreter
        machine.popen(["journalctl", "-f"])               # its streams are yours
        machine.reboot()                                  # in order: ExecStop= runs; the disk stays, /run does not
        machine.kill()                                    # a power cut
        machine.start()                                   # and on again; also after poweroff()
    # Nothing is left: no mount, no process, no cgroup, no file; nor when you are killed with SIGKILL.

`python -m nanod.rehearse -- CMD…` runs one command on such a machine.

What is written inside stays inside. Of this machine's services none starts by itself: no enabled unit, init script or fstab entry
counts, but a unit that others require by name starts. Nothing of nanod's own apps on this machine is there: no state, no units.
Journal, machine-id and /run are new, and so is the network, a loopback and nothing else, unless `network="host"`.

    machine      what the caller sees                     rehearsal    the verb, upon it
    keeper       cleans up, whatever happens to the caller
    first        the first process of its namespaces      overlay      its root, and what it does not inherit
    cgroup       a cgroup of its own for each machine     mounts       what is mounted
    tree         another Debian to boot over
"""
