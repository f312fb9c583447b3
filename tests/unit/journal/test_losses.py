from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from tests.unit.journal.samples import AtOnce
from watchducks.journal.losses import MAX_NOTED, Loss, Losses, losses_of


def test_losses_are_counted_by_site_with_their_time() -> None:
    assert losses_of([(1, 50), (2, 40), (1, 30), (1, 45)]) == {
        1: Loss(3, 30, 50),
        2: Loss(1, 40, 40),
    }
    assert losses_of([]) == {}


@pytest_twisted.ensureDeferred
async def test_they_survive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "lost-rows.json"
    losses = Losses(path)
    await losses.save(AtOnce())
    assert not path.exists(), "nothing was lost, so there is nothing to write"
    losses.add({7: Loss(2, 10, 20)})
    await losses.save(AtOnce())
    assert path.stat().st_mode & 0o777 == 0o600

    again = Losses(path)
    assert again.load()
    again.add({7: Loss(1, 5, 6), 8: Loss(1, 1, 1)})
    assert again.by_site() == {7: Loss(3, 5, 20), 8: Loss(1, 1, 1)}
    assert again.rows == 4


@pytest_twisted.ensureDeferred
async def test_what_could_not_be_saved_is_saved_later(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    losses = Losses(directory / "lost-rows.json")
    losses.add({1: Loss(1, 1, 1)})
    await losses.save(AtOnce())
    directory.mkdir()
    await losses.save(AtOnce())
    again = Losses(directory / "lost-rows.json")
    assert again.load()
    assert again.rows == 1


@pytest_twisted.ensureDeferred
async def test_a_batch_leaves_under_its_name_whatever_happens_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "lost-rows.json"
    losses = Losses(path)
    assert await losses.leaving(AtOnce()) is None
    losses.add({7: Loss(2, 10, 20), 8: Loss(1, 15, 15)})
    losses.add({7: Loss(1, 5, 6)})
    losses.add({7: Loss(4, 3600, 3601)})
    batch = await losses.leaving(AtOnce())
    assert batch is not None
    assert batch.losses == [(7, Loss(3, 5, 20)), (8, Loss(1, 15, 15)), (7, Loss(4, 3600, 3601))]
    losses.add({7: Loss(1, 21, 21)})
    assert await losses.leaving(AtOnce()) == batch

    again = Losses(path)  # after a crash, whether the batch was stored or not
    assert again.load()
    assert again.rows == 9
    assert await again.leaving(AtOnce()) == batch
    await again.stored(AtOnce())
    following = await again.leaving(AtOnce())
    assert following is not None
    assert following.losses == [(7, Loss(1, 21, 21))]
    assert following.name != batch.name
    await again.stored(AtOnce())
    last = Losses(path)
    assert last.load()
    assert await last.leaving(AtOnce()) is None
    assert last.rows == 9, "the counts are for ever"


@pytest_twisted.ensureDeferred
async def test_no_batch_leaves_whose_name_is_not_on_disk(tmp_path: Path) -> None:
    directory = tmp_path / "journal"
    losses = Losses(directory / "lost-rows.json")
    losses.add({1: Loss(1, 1, 1)})
    assert await losses.leaving(AtOnce()) is None
    directory.mkdir()
    assert await losses.leaving(AtOnce()) is not None


@pytest_twisted.ensureDeferred
async def test_what_waits_for_the_log_store_is_bounded(tmp_path: Path) -> None:
    losses = Losses(tmp_path / "lost-rows.json")
    losses.add({site: Loss(1, 1, 1) for site in range(MAX_NOTED + 10)})
    losses.add({1: Loss(1, 2, 2)})
    batch = await losses.leaving(AtOnce())
    assert batch is not None
    assert len(batch.losses) == MAX_NOTED
    assert batch.losses[1] == (1, Loss(2, 1, 2))
    assert losses.rows == MAX_NOTED + 11


@pytest.mark.parametrize(
    "content", ["", "[]", "3", "{}", '{"found": [[1]], "noted": [], "leaving": []}', "\0"]
)
def test_a_damaged_file_has_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "lost-rows.json"
    path.write_text(content)
    losses = Losses(path)
    assert not losses.load()
    assert losses.by_site() == {}


def test_stretches_of_time_between_which_all_was_kept_stay_apart(tmp_path: Path) -> None:
    """A chart is shaded where requests are missing, and nowhere else."""
    losses = Losses(tmp_path / "lost-rows.json")
    for first, last in ((100, 110), (170, 171), (1900, 1905), (1200, 1210)):
        losses.add({7: Loss(1, first, last)})
    assert losses.take() == [
        (7, Loss(2, 100, 171)),
        (7, Loss(1, 1900, 1905)),
        (7, Loss(1, 1200, 1210)),
    ]
    assert losses.take() == []
    losses.add({7: Loss(1, 111, 111)})
    assert losses.take() == [(7, Loss(1, 111, 111))], "they are told once"
    assert losses.by_site() == {7: Loss(5, 100, 1905)}
