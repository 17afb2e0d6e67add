"""Secrets: how they get into units and lines, who may speak of them, what changed, and what is wrong with their files."""

from __future__ import annotations

import hashlib
import hmac
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanod.changes import is_other
from nanod.compile import Target, compile_spec
from nanod.errors import NanodError
from nanod.host import secrets
from nanod.host.facts import check_host
from nanod.host.process import Completed, run
from nanod.host.seal import Seal
from nanod.host.store import LocalStore
from nanod.plan import plan
from nanod.rehearse import overlay
from nanod.spec.load import load
from nanod.steps import UnitStep
from nanod.units.secrets import secrets_of, watched_files
from nanod.units.unitset import Role
from tests.fakes import AppBuilder, snapshot_of

from .host_units import app, service, unit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nanod.diagnostics import Report
    from nanod.steps import Plan
    from nanod.units.unitset import UnitSet

SPEC = """\
project: shop
services:
  web:
    command: [/bin/web]
    user: shop
    credentials:
      key: /etc/shop/key
      url: {file: /etc/shop/url, env: DATABASE_URL, encrypted: true}
"""
WITH = 'DATABASE_URL=$(cat \\"$CREDENTIALS_DIRECTORY/url\\") && export DATABASE_URL && exec \\"$@\\"'
"""As a unit's line has it."""


def compiled(more: str = "", text: str = SPEC) -> tuple[UnitSet | None, Report]:
    loaded = load("shop.yaml", text + more, directory="/srv/shop")
    assert loaded.spec is not None, loaded.report.text()
    return compile_spec(loaded.spec, Target(version=252))


def good(more: str = "") -> UnitSet:
    units, report = compiled(more)
    assert units is not None, report.text()
    return units


# Units


def test_an_encrypted_file_is_loaded_as_one() -> None:
    web = good().unit("shop-web.service")
    assert (web.values("Service", "LoadCredential"), web.values("Service", "LoadCredentialEncrypted")) == (
        ["key:/etc/shop/key"],
        ["url:/etc/shop/url"],
    )
    assert [(item.name, item.path, item.is_encrypted, item.origin.line) for item in secrets_of(web)] == [
        ("key", "/etc/shop/key", False, 7),
        ("url", "/etc/shop/url", True, 8),
    ]


def test_lines_that_see_a_secret_have_its_variable_and_no_other_line_has_it() -> None:
    hooks = "{prestart: [./a, {run: ./b, scope: deploy}, {run: ./c, user: root}, {run: ./d, user: other}], poststart: ./e, ready: ./f, poststop: ./g}"
    units = good(f"    provisioning: {{install: ./i}}\n    hooks: {hooks}\n    health: {{exec: ./h}}\n    on_failure: ./j\n")
    lines = [item.text for unit in units.units for item in unit.directives if item.key.startswith("Exec") and "./" in item.text]
    having = {line.rpartition("./")[2][0] for line in lines if WITH in line}
    assert having == set("abcfi")
    assert {line.rpartition("./")[2][0] for line in lines} == set("abcdefghij")
    assert WITH in units.unit("shop-web.service").values("Service", "ExecStart")[0]
    opened = good(f"    hooks: {hooks}\n    sandbox: off\n").unit("shop-web.service")
    assert all(WITH in opened.values("Service", key)[-1] for key in ("ExecStartPost", "ExecStopPost"))
    assert not [item for unit in units.units for item in unit.directives if item.key == "Environment" and "DATABASE_URL" in item.text]


def test_a_poststop_task_is_lent_what_was_decrypted() -> None:
    bye = good("    tasks: {bye: {command: ./bye, lifecycle: {hook: poststop}}}\n").unit("shop-web-bye.service")
    assert "lend" in bye.values("Service", "ExecStopPost")[1]
    assert bye.values("Service", "ExecStopPost")[1].endswith("shop key /etc/shop/key encrypted:url /etc/shop/url")


# Who may speak of them


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("hooks: {prestart: 'cat $CREDENTIALS_DIRECTORY/key; curl $DATABASE_URL'}", ""),
        ("hooks: {ready: 'curl ${DATABASE_URL}'}", ""),
        ("hooks: {poststop: 'curl $DATABASE_URL'}", "a poststop hook cannot read 'DATABASE_URL', a credential: systemd shows them only to"),
        ("hooks: {reload: 'cat ${CREDENTIALS_DIRECTORY}/key'}", "a reload hook cannot read credentials: systemd shows them only to"),
        ("hooks: {poststop: [{run: [/usr/bin/python3, -c, 'os.environ[\"CREDENTIALS_DIRECTORY\"]']}]}", "a poststop hook cannot read credentials"),
        ("hooks: {poststop: 'curl $DATABASE_URL_OLD'}", ""),
        ("hooks: {poststop: {run: 'curl $DATABASE_URL', environment: {DATABASE_URL: x}}}", ""),
        ("hooks: {poststop: 'curl $DATABASE_URL'}\n    sandbox: off", ""),
        ("hooks: {poststop: 'curl $DATABASE_URL'}\n    sandbox: off\n    dynamic_user: true\n    user: null", "a poststop hook cannot read"),
        ("hooks: {prestart: {run: 'curl $DATABASE_URL', user: other}}", "a prestart hook of user 'other' cannot read 'DATABASE_URL'"),
        ("hooks: {prestart: {run: 'curl $DATABASE_URL', user: shop}}", ""),
        ("health: {exec: 'curl $DATABASE_URL'}", "a probe cannot read 'DATABASE_URL', a credential: it runs beside the service"),
        ("health: {exec: 'cat $CREDENTIALS_DIRECTORY/key'}", "a probe cannot read credentials"),
        ("health: {exec: 'cat $CREDENTIALS_DIRECTORY/key'}\n    sandbox: off", ""),
        ("health: {exec: 'cat $CREDENTIALS_DIRECTORY/key', liveness: {}}\n    sandbox: off", "a probe cannot read credentials"),
        ("on_failure: 'curl $DATABASE_URL'", "an on_failure command cannot read 'DATABASE_URL'"),
        (
            "command: null\n    processes: {api: {command: [/bin/api], hooks: {prestop: 'curl $DATABASE_URL'}}}",
            "a prestop hook cannot read 'DATABASE_URL'",
        ),
    ],
)
def test_who_cannot_see_a_secret_may_not_speak_of_it(keys: str, message: str) -> None:
    text = SPEC.replace("    command: [/bin/web]\n", "") if keys.startswith("command: null") else SPEC
    text = text.replace("    user: shop\n", "") if "dynamic_user" in keys else text
    keys = keys.removeprefix("command: null\n    ").replace("\n    user: null", "")
    found = [item.message for item in compiled(f"    {keys}\n", text)[1] if "cannot read" in item.message]
    assert len(found) == (1 if message else 0), found
    assert all(item.startswith(message) for item in found)


# What changed

SECRET = "[Service]\nExecStart=/bin/web\nLoadCredential=key:/etc/key\nLoadCredentialEncrypted=url:/etc/url"
SEEN = {"/etc/key": "k:1", "/etc/url": "k:2"}


def changed(role: Role = Role.MAIN, **digests: str) -> Plan:
    wanted = AppBuilder().service("web", SECRET, role=role).service("db").build()
    manifest = plan(wanted, None, snapshot_of(wanted, None, files={}, links={}, digests=SEEN)).manifest
    assert manifest is not None
    assert manifest.watched == SEEN
    now = SEEN | {f"/etc/{name}": digest for name, digest in digests.items()}
    return plan(wanted, manifest, snapshot_of(wanted, manifest, digests=now))


def jobs(found: Plan) -> list[tuple[str, str]]:
    return [(type(step).__name__, step.unit) for step in found.steps if isinstance(step, UnitStep)]


def test_another_content_restarts_what_was_given_it() -> None:
    assert changed().is_empty
    found = changed(key="k:9", url="k:8")
    assert jobs(found) == [("Restart", "shop-web.service")]
    assert [(cause.kind, cause.text, cause.subject) for cause in found.steps[0].causes] == [
        ("credential-changed", "credential key changed", "key"),
        ("credential-changed", "credential url changed", "url"),
    ]
    assert found.manifest is not None
    assert found.manifest.watched == {"/etc/key": "k:9", "/etc/url": "k:8"}
    assert not found.notes


@pytest.mark.parametrize("role", [Role.GROUP, Role.ALL, Role.POSTSTOP_TASK, Role.TIMER])
def test_what_keeps_no_secret_asks_for_nothing(role: Role) -> None:
    found = changed(role, key="k:9")
    assert jobs(found) == []
    assert found.records, "but what it takes next time is known"


@pytest.mark.parametrize(
    ("seen", "now", "expected"),
    [
        ("k:1", "k:1", False),
        ("k:1", "k:2", True),
        ("k:1", "other:2", False),
        ("k:1", "", True),
        ("", "k:1", True),
        ("", "", False),
        (None, "k:1", False),
        ("k:1", None, False),
        ("1", "2", True),
        ("1", "k:1", False),
    ],
)
def test_only_digests_of_one_key_tell_a_change(seen: str | None, now: str | None, *, expected: bool) -> None:
    assert is_other(seen, now) is expected


def test_a_token_is_the_same_before_there_is_a_key_and_after() -> None:
    wanted = AppBuilder().service("web", SECRET).build()
    one, other = (plan(wanted, None, snapshot_of(wanted, None, files={}, digests={"/etc/key": f"{key}:1"})) for key in "ab")
    assert one.token == other.token
    assert watched_files(wanted)["shop-web.service"] == {"/etc/key", "/etc/url"}


# Digests that only this host can make


@pytest.fixture
def top() -> Iterator[Path]:
    """Where everybody gets; tests' own directories are closed."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        made = Path(name)
        made.chmod(0o755)
        (made / "etc").mkdir(mode=0o755)
        (made / "etc/key").write_text("sesame")
        yield made


def test_a_digest_is_of_no_use_elsewhere(top: Path) -> None:
    store = LocalStore(root=str(top))
    first = store.sealed(["/etc/key", "/etc/absent"])
    assert first["/etc/absent"] == ""
    assert hashlib.sha256(b"sesame").hexdigest() not in first["/etc/key"]
    assert not (top / "var").exists(), "who only asks writes nothing"
    store.install_lib()
    key = top / "var/lib/nanod/digest.key"
    assert (key.stat().st_mode & 0o7777, len(key.read_bytes())) == (0o600, 32)
    assert Seal(str(top)).digests(["/etc/key"])["/etc/key"] == first["/etc/key"]

    before = key.stat().st_mtime_ns
    again = LocalStore(root=str(top))
    (top / "etc/key").write_text("another")
    assert is_other(first["/etc/key"], again.sealed(["/etc/key"])["/etc/key"])
    again.install_lib()
    assert key.stat().st_mtime_ns == before


@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_a_lost_key_is_made_anew_and_tells_nothing(top: Path, content: bytes | None) -> None:
    one = LocalStore(root=str(top))
    first = one.sealed(["/etc/key"])
    one.install_lib()
    key = top / "var/lib/nanod/digest.key"
    key.unlink() if content is None else key.write_bytes(content)
    (top / "etc/key").write_text("another")
    other = LocalStore(root=str(top))
    second = other.sealed(["/etc/key"])
    assert not is_other(first["/etc/key"], second["/etc/key"])
    other.install_lib()
    assert Seal(str(top)).digests(["/etc/key"]) == second


def test_no_key_is_made_where_nothing_is_watched(top: Path) -> None:
    LocalStore(root=str(top)).install_lib()
    assert not (top / "var/lib/nanod/digest.key").exists()


def test_who_may_not_read_a_secret_can_still_plan(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(paths: list[str], root: str) -> dict[str, str]:
        raise NanodError(f"cannot read {paths[0]} in {root}")

    monkeypatch.setattr("nanod.host.facts.digests", refuse)
    with pytest.raises(NanodError, match="cannot read"):
        Seal(str(top)).digests(["/etc/key"])
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert Seal(str(top)).digests(["/etc/key"]) == {}


# Their files


def holding(*texts: str, key: str = "LoadCredential") -> UnitSet:
    web = unit("shop-web.service", *(("Service", key, text) for text in texts))
    return app(web, services=(service("web"),))


def test_what_is_wrong_with_a_file_is_said_at_its_line(top: Path) -> None:
    (top / "etc/dir").mkdir()
    (top / "etc/large").write_bytes(bytes(2**20 + 1))
    (top / "etc/large").chmod(0o600)
    (top / "etc/key").chmod(0o644)
    (top / "etc/50% off").write_text("x")
    (top / "etc/50% off").chmod(0o600)
    lines = ("a:/etc/dir", "b:/etc/large", "c:/etc/key", "d:/etc/absent", "e:/etc/50%% off", "f:/etc/%n.key", "g")
    found = [(item.mark.line, item.severity.name, item.message) for item in check_host(holding(*lines), {}, str(top))]
    assert found == [
        (10, "ERROR", "cannot load credential 'a': /etc/dir is a directory, and a credential is one file"),
        (11, "ERROR", "cannot load credential 'b': /etc/large is larger than the 1 MiB that systemd takes"),
        (12, "WARNING", "everybody on this host can read credential 'c': /etc/key has mode 0644 (chmod o-r)"),
    ]
    assert not secrets.check_secrets(holding("c:/etc/key", key="LoadCredentialEncrypted"), str(top)), "what is encrypted may be read"
    (top / "etc").chmod(0o700)
    assert not secrets.check_secrets(holding("c:/etc/key"), str(top)), "nobody gets there"


def asked(monkeypatch: pytest.MonkeyPatch, status: int, err: str = "") -> list[tuple[str, ...]]:
    """What systemd-creds was asked."""
    calls: list[tuple[str, ...]] = []

    def answer(argv: list[str], *, timeout: float, is_mute: bool) -> Completed:
        assert timeout
        assert is_mute
        calls.append(tuple(argv))
        return Completed(argv=tuple(argv), status=status, out="", err=err)

    monkeypatch.setattr(secrets, "run", answer)
    monkeypatch.setattr(secrets, "_CREDS", "/bin/sh")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    return calls


def test_what_will_start_is_decrypted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = asked(monkeypatch, 0)
    assert not secrets.check_decrypts(changed())
    assert calls == []
    assert not secrets.check_decrypts(changed(key="k:9"))
    assert calls == [("/bin/sh", "decrypt", "--name=url", "/etc/url", "-")]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    secrets.check_decrypts(changed(key="k:9"))
    assert len(calls) == 1, "only root can"


@pytest.mark.parametrize(
    ("err", "message"),
    [
        ("Using a TPM.\nEmbedded credential name 'a' does not match filename 'url', refusing.\n", ": Embedded credential name 'a' does not match"),
        ("Failed to read encrypted credential data: Broken pipe", ": it was not made by systemd-creds ("),
        ("", ": systemd-creds exited with status 1 ("),
    ],
)
def test_what_cannot_be_decrypted_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch, err: str, message: str) -> None:
    asked(monkeypatch, 1, err)
    monkeypatch.setattr(secrets, "_HOST_KEY", "/")
    (found,) = secrets.check_decrypts(changed(url="k:9"))
    assert f"cannot decrypt credential 'url' from /etc/url{message}" in found.message
    assert found.message.endswith("(it must be made on this machine and for this name: 'systemd-creds encrypt --name=url PLAIN /etc/url')")
    monkeypatch.setattr(secrets, "_HOST_KEY", "/absent")
    (found,) = secrets.check_decrypts(changed(url="k:9"))
    assert "this machine has no key of its own yet: 'systemd-creds setup' makes one" in found.message


def test_output_for_nobody_goes_nowhere() -> None:
    done = run(["/bin/sh", "-c", "echo secret; echo why >&2"], is_mute=True)
    assert (done.out, done.err) == ("", "why\n")


def test_a_rehearsal_can_decrypt_what_its_machine_can(tmp_path: Path) -> None:
    """The first 16 bytes are the machine's number (sd_id128_get_machine_app_specific(3)), a UUID of version 4."""
    machine, key = uuid.uuid4(), tmp_path / "credential.secret"
    overlay.keep_credential_key(key, machine.bytes)
    assert not key.exists()
    key.write_bytes(bytes(16) + b"x" * 4096)
    overlay.keep_credential_key(key, machine.bytes)
    number, rest = uuid.UUID(bytes=key.read_bytes()[:16]), key.read_bytes()[16:]
    assert (number.version, rest, key.stat().st_mode & 0o777) == (4, b"x" * 4096, 0o400)
    assert number.bytes[:6] == hmac.digest(machine.bytes, bytes.fromhex("d3acecba0dad4cdfb8c9381528936c58"), "sha256")[:6]
