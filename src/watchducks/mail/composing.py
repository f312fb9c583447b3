"""Composing: a letter becomes a message, as text and as HTML, in its recipient's language.

Who told us no language is written to in all of them, one below the other. Pure, but for the
templates, which are read once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import Policy
from email.utils import format_datetime, formataddr
from typing import Any, Final
from urllib.parse import quote

from markupsafe import Markup

from watchducks import catalogs
from watchducks.mail.charts import bar_chart
from watchducks.mail.words import Words
from watchducks.model.certificates import CertificateProgress, Trouble, note_of
from watchducks.model.letters import LetterKind, PostedLetter
from watchducks.model.names import display_domain
from watchducks.model.scans import Note

SENDER_NAME: Final = "WatchDucks"


def mark(message: str) -> str:
    """Return ``message`` unchanged; it tells the tests that this is a text to translate."""
    return message


SUBJECTS: Final[Mapping[LetterKind, str]] = {
    LetterKind.REGISTRATION: mark("%(domain)s: enter our name servers at your registrar"),
    LetterKind.SIGN_IN: mark("Your link to sign in"),
    LetterKind.DELEGATED: mark("%(domain)s: the name servers have arrived"),
    LetterKind.MOVED: mark("%(domain)s has left our name servers"),
    LetterKind.FAREWELL: mark("%(domain)s will be forgotten in a week"),
    LetterKind.FORGOTTEN: mark("%(domain)s is forgotten"),
    LetterKind.CERTIFICATE: mark("%(domain)s: trouble with the certificate"),
    LetterKind.FAILOVER_BEGAN: mark("Your visitors go to your own servers for now"),
    LetterKind.FAILOVER_ENDED: mark("Your visitors come through us again"),
    LetterKind.SUSPENDED: mark("%(domain)s is suspended"),
    LetterKind.REPORT: mark("%(domain)s: your week"),
    LetterKind.SPIKE: mark("%(domain)s: many more visitors than usual"),
    LetterKind.DROP: mark("%(domain)s: far fewer visitors than usual"),
    LetterKind.ERRORS: mark("%(domain)s answers with errors"),
}


class _Unfolded(str):
    """A header's address, which Python would fold by encoding it, and no mail program decode."""

    __slots__ = ()
    name = "List-Unsubscribe"

    def fold(self, *, policy: Policy) -> str:
        """See :class:`email.headerregistry.BaseHeader`."""
        return f"{self.name}: {self}{policy.linesep}"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who writes.

    :ivar address: what letters come from. :ivar url: of the console, without a "/" at its end.
    :ivar nameservers: what an owner enters at his registrar.
    """

    address: str
    url: str
    nameservers: Sequence[str]


class Composer:
    """Writes messages."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._words = {code: Words(code) for code in catalogs.NAMES}

    def compose(self, posted: PostedLetter, unsubscribe: str = "") -> EmailMessage:
        """Return the message of a letter; the same message each time, but for new words of ours and
        the seal of the link.

        :param unsubscribe: the link that stops letters like it; "": nobody may.
        :raises jinja2.UndefinedError: the letter lacks a fact that its kind has.
        """
        letter, sender = posted.letter, self._sender
        kind = letter.kind.value
        chosen = self._words.get(letter.language)
        languages = [chosen] if chosen else list(self._words.values())
        facts = {**self._facts(letter.facts), "unsubscribe": unsubscribe}
        shown = {"domain": display_domain(str(facts.get("domain", "")))}
        subjects = [words.say(SUBJECTS[letter.kind], **shown) for words in languages]
        texts = [words.render(f"{kind}.txt", facts) for words in languages]
        sections = [
            (words.code, subject, Markup(words.render(f"{kind}.html", facts)))  # noqa: S704  escaped
            for words, subject in zip(languages, subjects, strict=True)
        ]
        frame = {**facts, "sections": sections, "subject": subjects[0]}
        html = languages[0].render("layout.html", frame)
        text = "\n\n--\n\n".join(one.strip() for one in texts)
        footer = languages[0].render("footer.txt", facts).strip()
        message = EmailMessage()
        message["From"] = formataddr((SENDER_NAME, sender.address))
        message["To"] = letter.recipient
        message["Subject"] = " / ".join(subjects)
        message["Date"] = format_datetime(datetime.fromtimestamp(posted.posted, UTC))
        # The same on each try: who gets a letter twice can tell.
        host = sender.address.rpartition("@")[2]
        message["Message-ID"] = f"<letter-{posted.number}-{posted.posted}@{host}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834
        if unsubscribe:
            message["List-Unsubscribe"] = _Unfolded(f"<{unsubscribe}>")
            # RFC 8058, whose programs look at https links only.
            message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        # Base64: no line begins with a dot, and none is longer than SMTP allows.
        message.set_content(f"{text}\n\n--\n{footer}\n", cte="base64")
        message.add_alternative(html, subtype="html", cte="base64")
        _add_pictures(message, letter.facts)
        return message

    def _facts(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        sender = self._sender
        site = str(facts.get("site", ""))
        page = f"{sender.url}/sites/{quote(site, safe='')}" if site else sender.url
        if "trouble" in facts:
            facts = {**facts, "reason": _reason(facts)}
        # A letter's own facts come last: a sign-in link is its own page.
        return {"url": sender.url, "page": page, "nameservers": list(sender.nameservers), **facts}


def _reason(facts: Mapping[str, Any]) -> Note | None:
    """Return why a certificate needs a look; a code of a later version's is no reason to fail."""
    try:
        trouble = Trouble(facts["trouble"])
    except ValueError:
        trouble = Trouble.LATE
    return note_of(
        CertificateProgress(
            trouble=trouble, host=str(facts.get("host", "")), words=str(facts.get("words", ""))
        )
    )


def _add_pictures(message: EmailMessage, facts: Mapping[str, Any]) -> None:
    """Put the charts of a letter beside its HTML, which names them by their Content-ID."""
    charts = facts.get("charts")
    if not isinstance(charts, Mapping):
        return
    html = message.get_payload(1)
    assert isinstance(html, EmailMessage)  # what add_alternative made
    for name, values in charts.items():
        html.add_related(bar_chart(values), "image", "png", cid=f"<{name}>", disposition="inline")
