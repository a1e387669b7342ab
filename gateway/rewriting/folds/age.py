"""Old images, audio and files: a lower detail first, then a trace of each."""

from __future__ import annotations

from gateway.rewriting import media
from gateway.rewriting.folds.draft import Draft


def age_media(draft: Draft, enough: int) -> None:
    """Lower the detail of old images; where that is not enough, leave a trace of each image, audio and file."""
    anatomy, count = draft.anatomy, draft.materials.count
    messages = anatomy.conversation.messages
    spared = draft.hard() | set(draft.exchange())
    old = [n for n in range(draft.prefix.units) if n not in spared and n not in draft.gone]
    holders = [(n, index) for n in old for index in anatomy.units[n] if messages[index].media]
    before = dict(enumerate(media.numbers(messages))) if holders else {}
    for remedy in (media.LOW, media.TRACED):
        for number, index in holders:
            message, stands = messages[index], draft.shortened.get(index)
            if stands is not None and stands.remedy not in (media.LOW, remedy):
                continue
            is_low = remedy == media.LOW
            edits = media.low(message, anatomy.count_media) if is_low else media.traced(message, before[index])
            short = media.shortened(anatomy, index, remedy, edits, count, anatomy.count_media)
            if short is not None and short.tokens < draft.message_tokens(index):
                draft.says(number, index, short)
        if draft.least <= enough:
            return
