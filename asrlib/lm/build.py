r"""Rebuild books-3gram.npz, the word trigrams in this folder.

Readers and tests never need this, for the model is committed. One command, about 20 s and 1.2 GB of
memory on one core; nothing is random, so there is no seed::

    python -m asrlib.lm.build books.txt [--dev LibriSpeech/dev-clean]

books.txt is 786,918 sentences (12.9 million words) of public-domain books up to 1900, one a line,
letters, spaces and apostrophes only; no line shares seven words in a row with a transcript of
LibriSpeech's dev or test sets. Any text of that form will do.

The sizes below were chosen by the perplexity of the dev-clean transcripts, at 3,000,000 bytes. A
larger vocabulary leaves less room for n-grams; a smaller one knows fewer words; to compare them, an
unknown word was charged for its spelling by a character 5-gram. 30,000 words: 367, 40,000: 360,
60,000: 358, 80,000: 360. With 60,000 words, 5, 6 and 7 bits give 357.9, 358.2 and 360.5. Without
the cut-offs pruning keeps worse n-grams: a million of them have a perplexity of 290, not of 282.
"""

import argparse
import time
from pathlib import Path

from asrlib.language_model import NGramModel

ORDER = 3
MAX_WORDS = 60_000
MIN_COUNTS = (1, 2, 2)  # pairs and triples of words that occur once are left out
MAX_NGRAMS = 1_225_000
BITS = 6
LIMIT_BYTES = 3_000_000


def _main() -> None:
    parser = argparse.ArgumentParser(description="Rebuild books-3gram.npz.")
    parser.add_argument("text", type=Path, help="sentences, one a line")
    parser.add_argument("--dev", type=Path, help="print perplexities of the transcripts in here")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("books-3gram.npz"))
    arguments = parser.parse_args()

    dev = []
    for path in sorted(arguments.dev.rglob("*.trans.txt")) if arguments.dev else ():
        rows = path.read_text(encoding="utf-8").lower().splitlines()
        dev += [row.partition(" ")[2] for row in rows]

    def say(name: str, model: NGramModel) -> None:
        perplexity = f", perplexity {model.perplexity(dev):.1f}" if dev else ""
        print(f"{time.perf_counter() - begin:5.1f} s  {name}{perplexity}", flush=True)

    begin = time.perf_counter()
    with open(arguments.text, encoding="utf-8") as lines:
        model = NGramModel.train(
            map(str.lower, lines), ORDER, min_counts=MIN_COUNTS, max_words=MAX_WORDS
        )
    say("trained", model)
    model = model.prune(max_ngrams=MAX_NGRAMS)
    say(f"pruned to {MAX_NGRAMS:,} n-grams", model)
    model.save(arguments.out, bits=BITS)
    size = arguments.out.stat().st_size
    say(f"{arguments.out}: {size:,} bytes", NGramModel.load(arguments.out))
    if dev:
        words = [word for line in dev for word in line.split()]
        unknown = sum(word not in model.index for word in words)
        print(f"{unknown} of {len(words)} words are unknown ({100 * unknown / len(words):.2f} %)")
    if size > LIMIT_BYTES:
        raise SystemExit(f"more than {LIMIT_BYTES:,} bytes: lower MAX_NGRAMS")


if __name__ == "__main__":
    _main()
