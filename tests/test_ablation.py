"""asrlib.ablation: one thing changes at a time, every setting is real, the comparison is paired."""

from dataclasses import asdict, fields, replace

import pytest

from asrlib import ablation
from asrlib.ablation import RECIPE, changes, load_table, run, save_table, table
from asrlib.features import FeatureConfig
from asrlib.metrics import word_error_rate
from asrlib.model import ModelConfig
from asrlib.recognizer import Recognizer
from asrlib.train_config import TrainConfig
from asrlib.training import Trainer
from tests.tones import PLAIN, TINY, tone_corpus


@pytest.mark.parametrize("preset", ["tiny", "small", "base"])
def test_every_setting_exists_and_only_the_recipe_changes_nothing(preset):
    known = {f.name for kind in (TrainConfig, ModelConfig, FeatureConfig) for f in fields(kind)}
    presets = [kind.preset(preset) for kind in (TrainConfig, ModelConfig, FeatureConfig)]
    now = {f"{k}={v}" for config in presets for k, v in asdict(config).items()}
    for change, settings in changes(preset).items():
        assert not set(settings) & now  # a change changes something
        assert bool(settings) == (change != RECIPE)
        assert {setting.split("=")[0] for setting in settings} <= known
    assert len({settings for settings in changes(preset).values()}) == len(changes(preset))


def test_the_table_compares_the_last_weights_with_the_recipes(tmp_path, monkeypatch):
    two = {RECIPE: (), "longer": ("epochs=15",), "not run": ("epochs=3",)}
    monkeypatch.setattr(ablation, "changes", lambda preset: two)
    corpus = tone_corpus(tmp_path / "tones")
    validation = [replace(u, speaker=f"voice {n % 3}") for n, u in enumerate(corpus)]
    for change, epochs in ((RECIPE, 1), ("longer", 15)):
        for seed in (0, 1):
            home = tmp_path / f"{change.replace(' ', '-')}-{seed}"
            config = TrainConfig(
                epochs=epochs, seed=seed, learning_rate=2e-2, film_every=0, **PLAIN
            )
            trainer = Trainer(TINY, config, corpus, validation, folder=home, device="cpu")
            trainer.fit(say=lambda line: None)
    rows = table(tmp_path, "tiny", [0, 1], validation)
    assert [row.change for row in rows] == [RECIPE, "longer"]  # the third is not finished
    assert (rows[0].worse, rows[0].low, rows[0].high) == (0, 0, 0)
    texts = []
    for n, seed in enumerate((0, 1)):
        recognizer = Recognizer.load(tmp_path / f"longer-{seed}" / "last.pt")
        texts = [recognizer.transcribe(u.path).text for u in validation]
        expected = word_error_rate([u.text for u in validation], texts)
        assert rows[1].wer[n] == expected.rate
    mean = [sum(row.wer) / 2 for row in rows]
    assert rows[1].worse == pytest.approx(mean[1] - mean[0])
    assert rows[1].low <= rows[1].worse <= rows[1].high
    save_table(rows, tmp_path / "rows.jsonl")
    assert load_table(tmp_path / "rows.jsonl") == rows


def test_a_run_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "changes", lambda preset: {RECIPE: ("speed_factors=[]",)})
    with pytest.raises(ChildProcessError, match=r"the recipe, seed 3, failed: see .*log\.txt"):
        run(tmp_path, ["--data", "minispeech"], "tiny", [3], jobs=1)
    assert "speed_factors needs a number" in (tmp_path / "the-recipe-3" / "log.txt").read_text()
