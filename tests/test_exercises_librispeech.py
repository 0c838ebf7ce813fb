"""Exercises of notebook 01: typical mistakes are named."""

import urllib.request

import pytest

from asrlib.exercises import librispeech as exercises

CHECKS = {
    "my_range": exercises.check_range,
    "my_level": exercises.check_level,
    "my_split": exercises.check_honest_split,
}


def by_clip(clips, held_out):
    half = len(clips) // 2
    return clips[:half], clips[half:]


def by_speaker_only(clips, held_out):
    exam = [clip for clip in clips if clip.speaker in held_out]
    return [clip for clip in clips if clip.speaker not in held_out], exam


def swapped(clips, held_out):
    training, exam = by_speaker_only(clips, held_out)
    return exam, training


def text_leaves_the_exam(clips, held_out):
    training, exam = by_speaker_only(clips, held_out)
    texts = {clip.text for clip in training}
    return training, [clip for clip in exam if clip.text not in texts]


def speaker_leaves_training(clips, held_out):
    training, exam = by_speaker_only(clips, held_out)
    texts = {clip.text for clip in exam}
    readers = {clip.speaker for clip in training if clip.text in texts}
    return [clip for clip in training if clip.speaker not in readers], exam


def texts_only(clips, held_out):
    training, exam = by_speaker_only(clips, held_out)
    return [clip.text for clip in training], [clip.text for clip in exam]


WRONG = [
    ("my_range", lambda have: f"bytes={have + 1}-", "leaves out a byte"),
    ("my_range", lambda have: f"bytes={have - 1}-", "there already"),
    ("my_range", lambda have: "bytes=0-", "asks for everything again"),
    ("my_range", lambda have: f"bytes=-{have}", "the last bytes"),
    ("my_range", lambda have: f"{have}-", "lacks the unit"),
    ("my_range", lambda have: f"bytes={have}", "lacks the minus"),
    ("my_range", lambda have: f"Range: bytes={have}-", "the header's name"),
    ("my_range", lambda have: have, "is not 'bytes=5-'"),
    ("my_range", lambda have: "bytes=5-", "with 70000 bytes"),
    ("my_level", lambda w: 20 * w.square().mean().log10(), "20 goes with the root"),
    ("my_level", lambda w: 10 * w.square().mean().sqrt().log10(), "10 goes with the power"),
    ("my_level", lambda w: 20 * w.abs().max().log10(), "that is the peak"),
    ("my_level", lambda w: 10 * w.square().mean().log(), "natural logarithm"),
    ("my_level", lambda w: w.square().mean().sqrt(), "that is an amplitude"),
    ("my_level", lambda w: w.square().mean(), "that is a power"),
    ("my_level", lambda w: 20 * w.abs().mean().log10(), "square first"),
    ("my_level", lambda w: -10 * w.square().mean().log10(), "the sign"),
    ("my_level", lambda w: 10 * w.square().log10(), "not one number"),
    ("my_level", lambda w: w.nonsense(), "it raised AttributeError"),
    ("my_split", by_clip, "that voice belongs to training"),
    ("my_split", by_speaker_only, "a text leak"),
    ("my_split", swapped, "that voice belongs to the exam"),
    ("my_split", text_leaves_the_exam, "the exam lost a clip"),
    ("my_split", speaker_leaves_training, "is lost"),
    ("my_split", lambda clips, held_out: (clips, clips), "12 went out"),
    ("my_split", lambda clips, held_out: clips, "return two lists"),
    ("my_split", texts_only, "return two lists"),
]


@pytest.mark.parametrize(("name", "answer", "message"), WRONG)
def test_a_typical_mistake_is_named(name, answer, message, capsys):
    CHECKS[name](answer)
    told = capsys.readouterr().out
    assert told.startswith("not yet: ") and message in told, told


def test_the_broken_server_breaks_off_once_and_serves_ranges():
    server = exercises.BrokenServer(b"0123456789")
    try:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def get(**headers):
            request = urllib.request.Request(server.url, headers=headers)
            with opener.open(request, timeout=10) as answer:
                return answer.status, answer.read(100)

        assert get() == (200, b"01234")
        assert get(Range="bytes=5-") == (206, b"56789")
        assert get() == (200, b"0123456789")
        assert server.asked == [None, "bytes=5-", None]
    finally:
        server.close()
