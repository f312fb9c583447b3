"""What an owner is told a week before his site is forgotten. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Final

from watchducks.model.names import display_domain
from watchducks.model.sites import Site

# Nobody is asked for his language at the registration by API, so it is told in both.
_TEXT: Final = """\
Your site {name} has been registered with WatchDucks, but the name servers of {domain} are
not ours. On {day} the site will be forgotten, with its records and its settings.

If you want to keep it, enter these name servers at your registrar before that day:

{servers}

If you do not want it any more, there is nothing to do.

--

사이트 {name}이(가) WatchDucks에 등록되어 있지만, {domain}의 네임서버가 저희 것이 아닙니다.
{day}에 이 사이트와 그 레코드, 설정이 지워집니다.

계속 쓰시려면 그 전에 도메인 등록기관에서 위의 네임서버를 입력하세요.
더 이상 필요하지 않으시면 아무것도 하지 않으셔도 됩니다.

{url}
"""


def farewell_mail(
    site: Site, forgotten: float, nameservers: Sequence[str], *, sender: str, url: str, now: float
) -> EmailMessage:
    """Return the message to the owner of ``site``.

    :param forgotten: when the site will be forgotten, POSIX seconds.
    :param url: of the site's page.
    """
    message = EmailMessage()
    message["From"] = sender
    message["To"] = site.email
    message["Subject"] = f"{display_domain(site.domain)}: WatchDucks"
    message["Date"] = format_datetime(datetime.fromtimestamp(now, UTC))
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2])
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834
    message.set_content(
        _TEXT.format(
            name=site.name,
            domain=display_domain(site.domain),
            day=datetime.fromtimestamp(forgotten, UTC).date().isoformat(),
            servers="\n".join(f"    {name}" for name in nameservers),
            url=url,
        )
    )
    return message
