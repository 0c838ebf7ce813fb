"""The player's HTML, without a browser: what it holds, what it refuses, how large it is."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from asrlib.decoding import greedy_search
from asrlib.features import FeatureConfig
from asrlib.model import ModelConfig, SpeechRecognitionModel
from asrlib.recognizer import Recognizer
from asrlib.subtitles import Word
from asrlib.text import Tokenizer
from asrlib.widgets import Player
from asrlib.widgets._card import ASSETS

HOSTILE = [
    "<img src=x onerror='window.__pwned = 1'>",
    "</script><script>window.__pwned = 1</script>",
    '" onmouseover="window.__pwned = 1" x="',
    "</p></div><style>* { display: none }</style><!--",
    "\u202eright to left\u202c \u200f\u0627\u0644\u0635\u0648\u062a &amp; & \u2028",
    "so long " * 1250,
]
VOID = {"img", "br", "meta"}


class Tree(HTMLParser):
    """Collect elements and text, and fail on tags that do not pair up."""

    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.text = [], [], {}
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names))
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes).get("class", "")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open:
            self.text[self.open[-1]] = self.text.get(self.open[-1], "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def noise(seconds, rate=16000, peak=0.9):
    return np.random.default_rng(0).uniform(-peak, peak, round(seconds * rate)).astype(np.float32)


def log_mel(seconds, n_mels=80):
    """Noise on every band and frame: no real spectrogram makes a larger PNG."""
    return np.random.default_rng(1).normal(size=(n_mels, round(seconds * 100) + 1))


def sure_of(path):
    """Log-probabilities of a network that is sure of each symbol of a path; - is the blank."""
    ids = [0 if symbol == "-" else int(Tokenizer().encode(symbol)[0]) for symbol in path]
    probabilities = np.full((len(ids), 29), 0.1 / 28)
    probabilities[np.arange(len(ids)), ids] = 0.9
    return np.log(probabilities)


def full(seconds=1.0, text="hi", **options):
    """Return a player with every row."""
    words = [Word(text, 0.04, 0.6, 0.9), Word("you", 0.7, 0.9, 0.8)]
    rows = {"log_mel": log_mel(seconds), "log_probs": sure_of("-hh-i"), "truth": words[:1]}
    return Player(noise(seconds), text=text, title=text, words=words, **{**rows, **options})


def timed(markup):
    return json.loads(Tree(markup).text["script", "asrlib-data"])


def decode_uri(uri):
    head, data = uri.split(",", 1)
    return head, base64.b64decode(data, validate=True)


def decode_sound(player):
    [audio] = Tree(player._repr_html_()).all("audio")
    head, data = decode_uri(audio["src"])
    return head, *soundfile.read(io.BytesIO(data), dtype="float64")


@pytest.mark.parametrize("as_input", [np.asarray, torch.tensor, lambda x: x.astype(np.float64)])
def test_the_sound_inside_is_the_sound_given(as_input):
    waveform = noise(1.234)
    waveform[:3] = (-1, 0, 1)
    head, samples, rate = decode_sound(Player(as_input(waveform)))
    assert (head, rate, samples.shape) == ("data:audio/wav;base64", 16000, waveform.shape)
    assert np.abs(samples - waveform).max() <= 1 / 32768


def test_mp3_keeps_length_and_sound():
    seconds = np.arange(32000) / 16000
    waveform = 0.5 * np.sin(2 * np.pi * (300 * seconds + 200 * seconds**2))
    head, samples, rate = decode_sound(Player(waveform, compress=True))
    assert (head, rate, samples.shape) == ("data:audio/mpeg;base64", 16000, waveform.shape)
    assert np.corrcoef(samples, waveform)[0, 1] > 0.99


def test_html_is_one_well_formed_fragment_that_loads_nothing():
    markup = Player(noise(1), text="some words", title="A title", log_mel=log_mel(1))._repr_html_()
    tree = Tree(markup)
    assert tree.elements[0] == (
        "div",
        {
            "class": "asrlib-card asrlib-player",
            "role": "group",
            "aria-label": "Sound A title",
            "data-duration": "1.0",
        },
    )
    assert len(tree.all("script")) == len(tree.all("style")) == 1
    assert all("id" not in attributes for _, attributes in tree.elements)  # any number per page
    sources = [attributes["src"] for _, attributes in tree.elements if "src" in attributes]
    assert len(sources) == 3 and all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?:|url\(|@import", markup)
    assert "controls" in tree.all("audio")[0]  # the browser's own, until the script replaces them


def test_pictures_have_alt_text_and_the_right_shape():
    waves, mel = Tree(Player(noise(2, peak=0.25), log_mel=log_mel(2))._repr_html_()).all("img")
    assert re.fullmatch(r"Waveform of 2\.00 seconds, peak amplitude 0\.25", waves["alt"])
    assert re.fullmatch(r"Log-mel .* 80 bands .* by 201 frames", mel["alt"])
    picture = Image.open(io.BytesIO(decode_uri(mel["src"])[1]))
    assert picture.size == (201, 80)
    assert len(Tree(Player(noise(2))._repr_html_()).all("img")) == 1


def test_pixels_show_time_to_the_right_and_frequency_upward():
    waveform, mel = np.zeros(16000), np.zeros((10, 101))
    waveform[8000:12000] = 0.5  # the third quarter
    mel[2, 75:] = 1.0  # a low band, the last quarter
    waves, mels = (
        np.asarray(Image.open(io.BytesIO(decode_uri(image["src"])[1])).convert("L"), dtype=int)
        for image in Tree(Player(waveform, log_mel=mel)._repr_html_()).all("img")
    )
    top = waves[:10].max(axis=0) > 60  # (columns,): is the wave near the upper limit here?
    assert top[722:1078].all() and not top[:718].any() and not top[1082:].any()
    assert np.array_equal(np.argwhere(mels > 60).min(axis=0), (7, 75))
    assert np.array_equal(np.argwhere(mels > 60).max(axis=0), (7, 100))


def test_heat_map_has_a_row_a_symbol_and_gray_columns_where_the_blank_is_likeliest():
    path = "-hh- 'z-a"
    player = Player(noise(1), log_probs=sure_of(path))
    image = Tree(player._repr_html_()).all("img")[1]
    assert "29 symbols" in image["alt"] and "9 frames; the blank is likeliest in 3" in image["alt"]
    pixels = np.asarray(Image.open(io.BytesIO(decode_uri(image["src"])[1])).convert("RGB"))
    assert pixels.shape == (29 * 7, 9 * 80, 3)
    cells = pixels[3::7, 40::80].astype(int)  # the middle of each cell
    assert np.array_equal(cells.repeat(7, axis=0).repeat(80, axis=1), pixels)
    rows = "abcdefghijklmnopqrstuvwxyz' -"
    assert "".join(rows[row] for row in cells.sum(axis=2).argmax(axis=0)) == path
    others = np.sort(cells.sum(axis=2), axis=0)[:-1]  # (28, frames): the unlikely symbols
    blank = np.array([symbol == "-" for symbol in path])
    assert others[:, blank].min() > 200 and others[:, ~blank].max() < 20
    columns = cells[:, blank][:28].reshape(-1, 3)
    assert np.ptp(columns, axis=1).max() < 20  # gray


def test_letters_and_words_stand_at_their_times():
    log_probs = torch.randn(26, 29).log_softmax(dim=-1)
    words = [Word("one", 0.1, 0.345, 0.9), Word("two", 0.5, 0.9, 0.9)]
    markup = Player(noise(1), log_probs=log_probs, words=words, truth=words[1:])._repr_html_()
    best = greedy_search(log_probs[None], torch.tensor([26]))[0]
    data = timed(markup)
    assert "".join(letter for letter, _ in data["greedy"]) == best.text
    assert [second for _, second in data["greedy"]] == pytest.approx(np.array(best.timesteps) / 25)
    assert data["heard"] == [["one", 0.1, 0.345], ["two", 0.5, 0.9]]
    assert data["said"] == [["two", 0.5, 0.9]]
    text = Tree(markup).text  # what remains without scripts
    assert text["div", "asrlib-row asrlib-heard"] == "one two"
    assert text["div", "asrlib-row asrlib-said"] == "two"
    assert text["div", "asrlib-row asrlib-greedy"] == best.text
    spoken = [div["aria-label"] for div in Tree(markup).all("div") if "aria-label" in div]
    assert spoken[1:] == [f"Greedy string: {best.text}", "Words heard", "Words said"]


def test_a_network_that_says_nothing_says_so():
    tree = Tree(Player(noise(1), log_probs=sure_of("----"), words=[], truth=[])._repr_html_())
    assert tree.text["div", "asrlib-row asrlib-greedy"] == "only blanks"
    assert tree.text["div", "asrlib-row asrlib-heard"] == "no words"


def test_a_plain_player_holds_no_rows_of_words_and_the_same_html_each_time():
    plain = Player(noise(1), log_mel=log_mel(1))._repr_html_()
    assert 'class="asrlib-data' not in plain and 'class="asrlib-row' not in plain
    assert 'class="asrlib-note' not in plain  # nor a legend
    assert full(compress=True)._repr_html_() == full(compress=True)._repr_html_()


def test_player_of_a_recognizer_shows_what_it_makes_of_the_sound():
    torch.manual_seed(0)
    config = ModelConfig.preset("tiny")
    recognizer = Recognizer(SpeechRecognitionModel(config), FeatureConfig(hop_length=200))
    waveform = torch.from_numpy(noise(1))
    player = Player.of(recognizer, waveform, truth="hi you", title="A title")
    assert player.frame_seconds == config.time_stride * 200 / 16000
    probabilities = recognizer.log_probs(waveform).exp().numpy()
    assert np.array_equal(player.probabilities, probabilities)
    assert player.words == recognizer.transcribe(waveform).words
    assert player.truth == recognizer.align(waveform, "hi you").words
    assert player.log_mel.shape == (80, 16000 // 200 + 1)
    assert (player.text, player.title) == ("hi you", "A title")
    assert Player.of(recognizer, waveform).truth is None


@pytest.mark.parametrize("words", HOSTILE)
def test_words_stay_words(words):
    plain, tree = Tree(full(text="plain")._repr_html_()), Tree(full(text=words)._repr_html_())
    assert [tag for tag, _ in tree.elements] == [tag for tag, _ in plain.elements]
    assert tree.text["div", "asrlib-row asrlib-heard"] == f"{words} you"
    assert json.loads(tree.text["script", "asrlib-data"])["said"] == [[words, 0.04, 0.6]]
    assert tree.text["script", ""] == plain.text["script", ""]


@pytest.mark.parametrize("words", HOSTILE)
def test_text_stays_text(words):
    plain = Player(noise(0.1), text="plain", title="plain")._repr_html_()
    tree = Tree(Player(noise(0.1), text=words, title=words)._repr_html_())
    assert [tag for tag, _ in tree.elements] == [tag for tag, _ in Tree(plain).elements]
    assert tree.text["p", "asrlib-transcript"] == words
    assert tree.text["div", "asrlib-title"] == words
    assert tree.all("div")[0]["aria-label"] == "Sound " + words[:80].rstrip()
    assert tree.text["script", ""] == Tree(plain).text["script", ""]


def test_text_that_utf8_cannot_hold_is_replaced():
    Player(noise(0.1), text="lone \ud800 surrogate")._repr_html_().encode("utf-8")


def test_assets_cannot_end_their_element():
    for path in ASSETS.iterdir():
        end = {".js": "</script", ".css": "</style"}[path.suffix]
        assert end not in path.read_text().lower()


@pytest.mark.parametrize(("n_mels", "limit"), [(80, 100_000), (128, 120_000)])
def test_a_compressed_4_s_clip_is_small(n_mels, limit):
    player = Player(noise(4), text="word " * 12, log_mel=log_mel(4, n_mels), compress=True)
    assert len(player._repr_html_().encode()) <= limit


def test_a_compressed_4_s_clip_with_every_row_is_small():
    words = [Word("wording", 0.3 * n, 0.3 * n + 0.25, 0.9) for n in range(13)]
    log_probs = (3 * torch.randn(101, 29)).log_softmax(dim=-1)  # noise, as everything here
    rows = {"log_mel": log_mel(4), "log_probs": log_probs, "words": words, "truth": words}
    player = Player(noise(4), text="word " * 12, **rows, compress=True)
    assert len(player._repr_html_().encode()) <= 100_000


def test_rows_are_cut_with_the_sound():
    words = [Word("one", 0.1, 0.4, 0.9), Word("two", 0.9, 1.3, 0.9), Word("three", 1.5, 1.9, 0.9)]
    log_probs = sure_of("ab" * 25 + "a")
    rows = {"log_probs": log_probs, "words": words, "truth": words}
    player = Player(noise(2), **rows, max_seconds=1)
    data = timed(player._repr_html_())
    assert data["heard"] == data["said"] == [["one", 0.1, 0.4], ["two", 0.9, 1.0]]
    assert [second for _, second in data["greedy"]] == pytest.approx(np.arange(26) / 25)
    assert "in 26 frames" in player._repr_html_()


def test_long_sounds_are_cut_and_say_so():
    player = Player(noise(20), log_mel=log_mel(20), max_seconds=1.5)
    markup = player._repr_html_()
    assert "Cut to the first 1.5 s of 20 s." in markup
    assert decode_sound(player)[1].shape == (24000,)
    assert "by 151 frames" in markup
    assert 'class="asrlib-note"' not in Player(noise(15))._repr_html_()


def test_loud_samples_are_clipped_and_say_so():
    player = Player(np.array([0.0, 1.5, -2.0, 0.5]))
    assert "2 of 4 samples beyond ±1 are clipped." in player._repr_html_()
    assert decode_sound(player)[1].max() <= 1


@pytest.mark.parametrize("seconds", [1 / 16000, 0.001, 0.05, 0.39, 1, 2.3, 8, 14.999])
def test_ticks_are_round_and_inside(seconds):
    spans = Tree(Player(np.zeros(max(1, round(seconds * 16000))))._repr_html_()).all("span")
    ticks = [span for span in spans if "style" in span]
    assert 2 <= len(ticks) <= 9
    for tick in ticks:
        percent = float(re.fullmatch(r"left:([\d.]+)%", tick["style"])[1])
        assert 0 <= percent <= 100.001
        time = float(tick["data-label"].removesuffix(" s"))
        assert time == pytest.approx(percent / 100 * seconds, rel=1e-3, abs=1e-9)
        assert len(tick["data-label"]) <= 9
    assert ticks[-1]["data-label"].endswith(" s")


def test_the_same_player_gives_the_same_html():
    first, second = (Player(noise(1), text="x", log_mel=log_mel(1)) for _ in range(2))
    assert first._repr_html_() == second._repr_html_()
    assert repr(Player(noise(1), text="a" * 50)).endswith(f"text='{'a' * 39}…')")


@pytest.mark.parametrize(
    ("waveform", "options", "message"),
    [
        (np.zeros(0), {}, r"waveform: shape \(0,\)"),
        (np.zeros((1, 100)), {}, r"waveform: shape \(1, 100\); use \(samples\)"),
        (torch.zeros(()), {}, r"waveform: shape \(\)"),
        (np.array([0.0, np.nan, np.inf]), {}, "waveform: 2 of 3 values are NaN or infinite"),
        (np.zeros(9, dtype=np.int16), {}, "waveform: int16; use float"),
        (torch.zeros(9, dtype=torch.int16), {}, "waveform: int16; use float"),
        (np.zeros(9), {"sample_rate": 0}, "sample_rate=0"),
        (np.zeros(9), {"sample_rate": -8000}, "sample_rate=-8000"),
        (np.zeros(9), {"sample_rate": 0.5}, "sample_rate=0.5"),
        (np.zeros(9), {"sample_rate": 9000, "compress": True}, "sample_rate=9000: MP3"),
        (np.zeros(9), {"max_seconds": 0}, "max_seconds=0"),
        (np.zeros(9), {"max_seconds": float("nan")}, "max_seconds=nan"),
        (np.zeros(9), {"log_mel": np.zeros((1, 80, 2))}, r"log_mel: shape \(1, 80, 2\)"),
        (np.zeros(9), {"log_mel": np.zeros((80, 0))}, r"log_mel: shape \(80, 0\)"),
        (np.zeros(9), {"log_mel": np.full((2, 2), -np.inf)}, "log_mel: 4 of 4 values"),
        (np.zeros(9), {"log_probs": np.zeros(29)}, r"log_probs: shape \(29,\)"),
        (np.zeros(9), {"log_probs": np.full((1, 5), np.log(0.2))}, "log_probs: 5 symbols"),
        (np.zeros(9), {"log_probs": np.full((1, 29), np.nan)}, "log_probs: 29 of 29 values"),
        (np.zeros(9), {"log_probs": np.zeros((1, 29))}, "frame 0 sum to 29, not to 1"),
        (np.zeros(9), {"log_probs": sure_of("--"), "frame_seconds": 0}, "frame_seconds=0"),
        (
            np.zeros(16000),
            {"log_probs": sure_of("-" * 28)},
            r"28 frames, 0\.04 s apart, reach to 1",
        ),
        (
            np.zeros(16000),
            {"words": [Word("late", 0.9, 1.1, 1.0)]},
            "word 'late' from 0.9 to 1.1 s",
        ),
        (
            np.zeros(16000),
            {"truth": [Word("back", 0.9, 0.8, 1.0)]},
            "word 'back' from 0.9 to 0.8 s",
        ),
    ],
)
def test_bad_input_is_named(waveform, options, message, unchecked_types):
    with pytest.raises(ValueError, match=message):
        Player(waveform, **options)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_edge_inputs_render(dtype):
    waveform = torch.zeros(1, dtype=dtype, requires_grad=True)
    Tree(Player(waveform, 8000, log_mel=torch.zeros(1, 1, dtype=dtype))._repr_html_())
