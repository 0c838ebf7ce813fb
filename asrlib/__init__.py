"""asrlib: a small, tested speech recognizer, one idea a file.

Read it in this order: text, audio, metrics, features, ctc, model, download, corpus, batching,
decoding, checkpoint, training, recognizer. A module imports only from modules before it.
"""

__version__ = "0.1.0"
