"""cron's five fields as calendar expressions, read back by systemd itself."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from nanod.spec.cron import CronError, from_cron

KNOWN = {
    "* * * * *": "*-*-* *:*:00",
    "*/5 * * * *": "*-*-* *:00/5:00",
    "0 3 * * *": "*-*-* 03:00:00",
    "30 3 * * 1-5": "Mon..Fri *-*-* 03:30:00",
    "0 0 1 jan *": "*-01-01 00:00:00",
    "0 0 * * 0": "Sun *-*-* 00:00:00",
    "0 0 * * 7": "Sun *-*-* 00:00:00",
    "0 0 * * sun,wed": "Sun,Wed *-*-* 00:00:00",
    "0 9-17 * * mon-fri": "Mon..Fri *-*-* 09..17:00:00",
    "0 9-17/2 * * *": "*-*-* 09..17/2:00:00",
    "5/10 * * * *": "*-*-* *:05..59/10:00",
    "0,30 */2 1,15 1-6 *": "*-01..06-01,15 00/2:00,30:00",
    "0 0 * * */2": "Sun,Tue,Thu,Sat *-*-* 00:00:00",
    "@daily": "daily",
    "@annually": "yearly",
}


@pytest.mark.parametrize(("cron", "calendar"), KNOWN.items())
def test_cron_is_translated(cron: str, calendar: str) -> None:
    assert from_cron(cron) == calendar


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_reads_every_translation() -> None:
    done = subprocess.run(["systemd-analyze", "calendar", *KNOWN.values()], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["daily", "Mon *-*-* 03:00:00", "*-*-* 00/2:00:00", "Mon,Tue 12:00", "*:0/5", "2030-01-01", "a b c d"])
def test_a_calendar_expression_is_no_cron(text: str) -> None:
    assert from_cron(text) is None


@pytest.mark.parametrize("text", ["@reboot", "0 3 1 * mon", "61 * * * *", "0 24 * * *", "0 0 * foo *", "0 0 0 * *"])
def test_what_has_no_translation_says_why(text: str) -> None:
    with pytest.raises(CronError):
        from_cron(text)
