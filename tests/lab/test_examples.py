"""Every example runs, as it stands, on a machine that has what Debian has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.rehearse.machine import SOURCE
from tests.lab.steps import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.host.process import Completed
    from nanod.rehearse.machine import Machine

EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = "/opt/examples"
TRY = "#   sudo nanod rehearse "
"""Begins what a spec says to try it with, in its own first lines."""
SHOWS = {
    "backup": ".tar.gz",
    "group": "poststop task/notice",
    "lifecycle": 'Status: "run"',
    "log-shipper": "web/log-shipper  run  healthy",
    "release": "<p>Visit 2</p>",
    "report": "Mounted on",
    "shop": "poststart",
}
"""What is then seen, among other things."""
SPECS = sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.glob("*/*.yaml"))


@pytest.fixture(scope="module", autouse=True)
def _copied(machine: Machine) -> None:
    """As a user of the machine would have them: the checkout itself may lie where no service may read."""
    shutil.copytree(EXAMPLES, machine.path(HERE))
    shutil.copytree(SOURCE / "nanod/lifecycle", machine.path(HERE).parent / "nanod/lifecycle")


def nanod(machine: Machine, verb: str, spec: str, *options: str, status: int = 0) -> Completed:
    options += ("--settle", "0") if verb == "apply" else ()
    done = machine.run(["nanod", verb, f"{HERE}/{spec}" if "/" in spec else spec, *options], timeout=120)
    assert done.status == status, f"{verb} {spec}: {done.status}\n{done.out}\n{done.err}"
    return done


def get(machine: Machine, url: str, *options: str) -> str:
    done = machine.run(["curl", "--fail", "--silent", "--show-error", *options, url])
    assert done.status == 0, done.err
    return done.out.strip()


@pytest.mark.parametrize("spec", SPECS)
def test_it_checks_and_compiles(machine: Machine, spec: str) -> None:
    said = nanod(machine, "check", spec).err
    # Nanokit's own forms name no user.
    assert "runs as root" in said if spec.startswith("nanokit/") else said == "", said
    assert ": error:" not in said
    assert "[Service]" in nanod(machine, "compile", spec).out


@pytest.mark.parametrize("example", SHOWS)
def test_what_it_says_to_try_it_with(machine: Machine, example: str) -> None:
    lines = (EXAMPLES / example / f"{example}.yaml").read_text().splitlines()
    (command,) = [line.removeprefix("#   sudo ") for line in lines if line.startswith(TRY)]
    done = machine.run(["sh", "-c", command], cwd=Path(HERE).parent, timeout=120)
    assert done.status == 0, done.out + done.err
    assert SHOWS[example] in done.out
    assert not machine.path("/srv/report").exists()


def test_every_spec_that_says_so_is_tried() -> None:
    assert {path.stem for path in EXAMPLES.glob("*/*.yaml") if TRY in path.read_text()} == set(SHOWS)


@pytest.mark.row("NK-1", "NK-10", "NK-14", "NK-15", "NK-16", "BX-24")
def test_shop(machine: Machine) -> None:
    nanod(machine, "apply", "shop/shop.yaml")
    assert get(machine, "http://127.0.0.1:8080/") == "Welcome, visitor 1"
    timeline = machine.path("/srv/shop/timeline")
    until(lambda: "the cache is warm" in timeline.read_text(), "the ready hook has run")

    # A new greeting is read without a restart; an empty one is refused by the first reload hook.
    greeting = machine.path("/srv/shop/greeting")
    greeting.write_text("Good evening\n")
    nanod(machine, "apply", "shop/shop.yaml")
    until(lambda: get(machine, "http://127.0.0.1:8080/").startswith("Good evening"), "the greeting is read")
    greeting.write_text("")
    assert machine.run(["systemctl", "reload", "shop-web"]).status == 1
    assert get(machine, "http://127.0.0.1:8080/").startswith("Good evening")

    nanod(machine, "remove", "shop")
    assert [line.split()[0] for line in timeline.read_text().splitlines()] == [
        "install",
        "prestart",
        "poststart",
        "poststart",
        "ready",
        "reload",
        "prestop",
        "poststop",
    ]
    nanod(machine, "remove", "shop", status=1)


@pytest.mark.row("UP-1", "UP-13", "UP-14", "UP-18", "BX-17")
def test_release(machine: Machine) -> None:
    url, web = "http://127.0.0.1:8090/", machine.path(f"{HERE}/release/web")
    nanod(machine, "apply", "release/release.yaml")
    assert "<title>Welcome - Our guest book</title>" in get(machine, url)
    machine.run(["journalctl", "--sync"])
    assert "made index.html" in machine.run(["journalctl", "--quiet", "-t", "guestbook-build"]).out
    assert "migration 1" in machine.run(["journalctl", "--quiet", "-t", "guestbook-deploy"]).out

    # A new version: another page, and one more migration.
    (web / "pages/about.txt").write_text("About\nA book.\n")
    migrate = (web / "migrate.py").read_text()
    (web / "migrate.py").write_text(migrate.replace('TIMESTAMP)"]', 'TIMESTAMP)", "CREATE TABLE names (name TEXT)"]'))
    nanod(machine, "apply", "release/release.yaml")
    assert "<p>A book.</p>" in get(machine, f"{url}about")
    assert "nothing to do" in nanod(machine, "apply", "release/release.yaml").out
    assert "post_deploy only" in nanod(machine, "apply", "release/release.yaml", "--redeploy").out

    # A migration that fails takes nothing away.
    (web / "migrate.py").write_text("raise SystemExit('no more space for names')")
    failed = nanod(machine, "apply", "release/release.yaml", status=4)
    assert "cannot start guestbook-web: hook deploy/1 exited with status 1" in failed.out
    assert "no more space for names" in failed.out
    assert "<p>A book.</p>" in get(machine, f"{url}about")
    nanod(machine, "remove", "--purge", "guestbook")
    assert not machine.path("/srv/guestbook").exists()


@pytest.mark.row("NK-13")
def test_django(machine: Machine) -> None:
    nanod(machine, "apply", "django/site.yaml")
    assert machine.path("/srv/site/static/site.css").exists()
    assert get(machine, "http://127.0.0.1:8000/") == "thank you"
    until(lambda: get(machine, "http://127.0.0.1:8000/counted") == "1", "the worker has counted the visit")
    machine.run(["systemctl", "restart", "site.target"])
    until(lambda: machine.run(["curl", "-fs", "http://127.0.0.1:8000/health"]).status == 0, "the site is back")
    journal = machine.run(["journalctl", "--quiet", "--output=cat", "--unit=site-web-prestart"]).out
    assert journal.count("applied migration 1") == 1
    nanod(machine, "remove", "site")


@pytest.mark.row("NK-11")
def test_node_with_the_postgresql_of_debian(machine: Machine) -> None:
    nanod(machine, "apply", "node-postgres/notes.yaml")
    _notes(machine, 3000)
    nanod(machine, "remove", "notes")
    assert machine.run(["systemctl", "is-active", "postgresql.service"]).out.strip() == "active", "it is not ours to stop"


@pytest.mark.row("NK-1", "NK-11", "BX-3")
def test_node_with_a_postgresql_of_its_own(machine: Machine) -> None:
    nanod(machine, "apply", "node-postgres/own.yaml")
    _notes(machine, 3001)
    assert machine.run(["systemctl", "reload", "notes-own-db"]).status == 0
    nanod(machine, "remove", "notes-own")
    journal = machine.run(["journalctl", "--quiet", "--output=cat", "--unit=notes-own-db"]).out
    assert "received fast shutdown request" in journal
    nanod(machine, "apply", "node-postgres/own.yaml")
    assert get(machine, "http://127.0.0.1:3001/") == "it's one", "the cluster was kept, and not made again"
    nanod(machine, "remove", "notes-own")


def _notes(machine: Machine, port: int) -> None:
    url = f"http://127.0.0.1:{port}/"
    assert get(machine, url) == ""
    assert get(machine, url, "--data", "it's one") == "it's one"


@pytest.mark.row("BX-8", "NK-21")
def test_reload(machine: Machine) -> None:
    machine.path("/etc/greeter").mkdir()
    conf = machine.path("/etc/greeter/greeting.conf")
    conf.write_text((EXAMPLES / "reload/greeting.conf").read_text())
    nanod(machine, "apply", "reload/reload.yaml")

    def greeting() -> str:
        ask = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/greeter/greet/socket'); print(s.recv(99).decode())"
        return machine.run(["python3", "-c", ask]).out.strip()

    assert greeting() == "Good morning"
    pid = machine.run(["systemctl", "show", "--property=MainPID", "greeter-greet"]).out
    conf.write_text("[greeter]\ngreeting = Good night\n")
    nanod(machine, "apply", "reload/reload.yaml")
    until(lambda: greeting() == "Good night", "the program greets anew")
    conf.write_text("nonsense\n")
    done = nanod(machine, "apply", "reload/reload.yaml", status=4)
    assert "reload/check" in done.out
    assert greeting() == "Good night"
    assert machine.run(["systemctl", "show", "--property=MainPID", "greeter-greet"]).out == pid
    nanod(machine, "remove", "greeter")


STAND_IN = """#!/usr/bin/python3
import json, os, sys
with open("/srv/calls", "a") as file:
    print(json.dumps([os.environ["NANOKIT_SERVICE"], os.path.basename(sys.argv[0]), *sys.argv[1:]]), file=file)
if sys.argv[1:2] in (["install"], ["ci"]):
    os.makedirs("node_modules", exist_ok=True)
if sys.argv[1:] == ["start"]:
    os.execvp("sleep", ["sleep", "infinity"])
"""


@pytest.fixture
def npm(machine: Machine) -> Iterator[None]:
    """Programs in the place of npm, npx and curl that note how they are called; units have /usr/local/bin first on their PATH."""
    programs = [machine.path(f"/usr/local/bin/{name}") for name in ("npm", "npx", "curl")]
    for program in programs:
        program.write_text(STAND_IN)
        program.chmod(0o755)
    yield
    for program in programs:
        program.unlink()


@pytest.mark.row("NK-1", "NK-7", "NK-10", "NK-14", "NK-18", "NK-22")
@pytest.mark.usefixtures("npm")
def test_nanokit(machine: Machine) -> None:
    nanod(machine, "apply", "nanokit/blog.yaml")

    def calls() -> list[list[str]]:
        return [json.loads(line) for line in machine.path("/srv/calls").read_text().splitlines()]

    until(lambda: [call[1:] for call in calls()].count(["npm", "start"]) == 3, "all have started")
    by_service = {name: [call[1:] for call in calls() if call[0] == name] for name in ("api", "web", "worker")}
    install = ["npm", "install", "--prefer-offline", "--no-audit"]
    assert by_service["api"] == [["npm", "ci", "--prefer-offline"], ["npm", "start"]]
    assert by_service["web"] == [install, ["npx", "prisma", "migrate", "deploy"], ["npm", "start"]]
    started, curl = sorted(by_service["worker"][1:], key=len)
    assert (by_service["worker"][0], started) == (install, ["npm", "start"])
    body = json.loads(curl[curl.index("-d") + 1])
    assert body == {"text": "Worker is up", "fields": {"service": "worker", "cost": "$5 & 100%"}}
    assert curl[-1] == "https://hooks.example.com/services/T0/B0"
    nanod(machine, "apply", "nanokit/blog.yaml")
    nanod(machine, "remove", "blog")
    assert "prestop of worker in blog/default" in machine.run(["journalctl", "--quiet", "--output=cat", "--unit=blog-worker"]).out
    assert len(calls()) == 8, "nothing was installed or started twice"


@pytest.mark.row("NM-18", "NM-19", "BX-18")
def test_group(machine: Machine) -> None:
    machine.run(["chmod", "600", f"{HERE}/group/webhook"])
    nanod(machine, "apply", "group/group.yaml")
    assert get(machine, "http://127.0.0.1:8092/", "--data", "tea") == "order 1"
    until(lambda: "POST / HTTP" in machine.run(["journalctl", "--quiet", "--output=cat", "-t", "orders-access"]).out, "the log is shipped")
    # A crash is no end: neither is anything announced, nor does the shipper go with the service.
    ship, web = (machine.run(["systemctl", "show", "--property=MainPID", "--value", f"orders-web{part}"]).out.strip() for part in ("-ship", ""))
    machine.run(["kill", "-KILL", web])
    until(lambda: machine.run(["curl", "-fs", "http://127.0.0.1:8092/"]).status == 0, "the web is back")
    # Stopped while its gate still looks, it would have ended by a signal.
    until(lambda: machine.run(["systemctl", "is-active", "orders-web"]).status == 0, "its gate has passed")
    assert machine.run(["systemctl", "show", "--property=MainPID", "--value", "orders-web-ship"]).out.strip() == ship
    said = machine.path("/srv/orders/chat")
    assert not said.exists()
    nanod(machine, "stop", "orders", "web")
    assert said.read_text() == "orders: web has ended (success)\n"
    assert "hooks/not-a-secret" not in machine.run(["sh", "-c", "cat /etc/systemd/system/orders-*"]).out
    nanod(machine, "remove", "orders")


@pytest.mark.row("NM-18")
def test_a_group_whose_database_is_away_says_what_it_waits_for(machine: Machine) -> None:
    spec = machine.path(f"{HERE}/group/group.yaml")
    text = spec.read_text()
    spec.write_text(text.replace("tcp://127.0.0.1:6390\n        timeout: 1m", "tcp://127.0.0.1:6391\n        timeout: 2s"))
    done = nanod(machine, "apply", "group/group.yaml", status=4)
    spec.write_text(text)
    assert "prestart task web/wait-for-db failed" in done.out
    assert "127.0.0.1:6391" in done.out


@pytest.mark.row("NM-18", "NM-19")
def test_log_shipper(machine: Machine) -> None:
    nanod(machine, "apply", "log-shipper/log-shipper.yaml")
    get(machine, "http://127.0.0.1:8090/GPL-3")
    until(lambda: "GET /GPL-3" in machine.run(["journalctl", "--quiet", "--output=cat", "-t", "shipped-access"]).out, "the request is shipped")
    nanod(machine, "stop", "shipped")
    # Of all that there is: of what ends at once the journal does not always know the unit.
    assert machine.run(["journalctl", "--quiet", "--output=cat"]).out.split("\n").count("shipped-web has ended") == 1
    nanod(machine, "remove", "shipped")


@pytest.mark.row("RV-6", "RV-7", "RV-12", "RV-19", "RV-20", "MK-8")
def test_lifecycle(machine: Machine) -> None:
    url, here = "http://127.0.0.1:8095/", machine.path(f"{HERE}/lifecycle")
    settings, registry = here / "settings.ini", machine.path("/srv/visits/registry")
    nanod(machine, "apply", "lifecycle/lifecycle.yaml")
    assert get(machine, url) == "Welcome, visitor 1"
    until(registry.exists, "it is registered")

    # New settings are in force when apply returns, and nothing was restarted; bad ones are refused in words, and so is another port.
    pid = machine.run(["systemctl", "show", "--property=MainPID", "--value", "visits-web"]).out
    good = settings.read_text().replace("Welcome", "Good evening")
    settings.write_text(good)
    nanod(machine, "apply", "lifecycle/lifecycle.yaml")
    assert get(machine, url) == "Good evening, visitor 2"
    for bad, words in (
        (good.replace("Good evening", ""), "ValueError: the greeting is empty"),
        (good.replace("8095", "8096"), "cannot change 'port'"),
    ):
        settings.write_text(bad)
        assert machine.run(["systemctl", "reload", "visits-web"]).status == 1
        assert words in machine.run(["systemctl", "status", "--no-pager", "visits-web"]).out
        assert get(machine, url).startswith("Good evening")
    settings.write_text(good)
    assert machine.run(["systemctl", "show", "--property=MainPID", "--value", "visits-web"]).out == pid

    nanod(machine, "stop", "visits")
    assert not registry.exists()
    assert "counted 4" in machine.run(["journalctl", "--quiet", "--output=cat", "--unit=visits-web"]).out
    nanod(machine, "start", "visits")
    assert get(machine, url) == "Good evening, visitor 5"
    nanod(machine, "remove", "--purge", "visits")


@pytest.mark.row("RV-6", "RV-7", "RV-20")
def test_lifecycle_with_a_certificate(machine: Machine) -> None:
    url, pem = "https://127.0.0.1:8096/", machine.path("/srv/certified/certificate.pem")

    def subject() -> str:
        done = machine.run(["openssl", "s_client", "-connect", "127.0.0.1:8096"])
        return next(line.rpartition("CN = ")[2] for line in done.out.splitlines() if line.startswith("subject="))

    machine.run(["chmod", "600", f"{HERE}/lifecycle/token"])
    nanod(machine, "apply", "lifecycle/secure.yaml")
    assert get(machine, url, "--insecure", "--header", "Authorization: Bearer not-a-secret") == "welcome"
    assert machine.run(["curl", "--fail", "--silent", "--insecure", url]).status != 0
    assert subject() == "first"
    pid = machine.run(["systemctl", "show", "--property=MainPID", "--value", "certified-web"]).out
    good = pem.read_text()
    pem.write_text(good[:500])
    assert machine.run(["systemctl", "reload", "certified-web"]).status == 1
    assert subject() == "first"
    renew = "openssl req -x509 -key /srv/certified/key.pem -days 30 -subj /CN=second -out /srv/certified/certificate.pem"
    machine.run(["sh", "-c", renew])
    assert machine.run(["systemctl", "reload", "certified-web"]).status == 0
    assert subject() == "second"
    assert machine.run(["systemctl", "show", "--property=MainPID", "--value", "certified-web"]).out == pid
    nanod(machine, "remove", "certified")


@pytest.mark.row("BX-29")
def test_report(machine: Machine) -> None:
    nanod(machine, "apply", "report/report.yaml")
    directory = machine.path("/srv/report")
    assert list(directory.glob("*.txt")) == [], "the timer runs it, and apply does not"
    assert machine.run(["systemctl", "is-active", "report-daily.timer"]).out.strip() == "active"
    assert machine.run(["systemctl", "start", "--wait", "report-daily.service"]).status == 0
    assert len(list(directory.glob("*.txt"))) == 1
    nanod(machine, "status", "report")
    nanod(machine, "remove", "report")
    assert len(list(directory.glob("*.txt"))) == 1


@pytest.mark.row("BX-29")
def test_backup(machine: Machine) -> None:
    source = machine.path("/srv/shop")
    source.mkdir(exist_ok=True)
    (source / "kept").write_text("kept\n")
    nanod(machine, "apply", "backup/backup.yaml")
    assert machine.run(["systemctl", "start", "--wait", "backup-nightly.service"]).status == 0
    copies = machine.run(["sh", "-c", "cat /var/backups/shop/*.tar.gz | tar --list --gzip"])
    assert "./kept" in copies.out.splitlines()
    nanod(machine, "remove", "backup")
